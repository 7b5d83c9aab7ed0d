import { createServer } from 'node:http';
import { loadConfig } from './config.ts';
import { QUEUES } from './domain/activities.ts';
import { runProgram } from './program.ts';
import { createLog } from './telemetry/log.ts';
import { createActivities, wire } from './wiring.ts';
import { installRuntime, startWorkers } from './workers.ts';

/**
 * The worker as a program: serves the queues of WORKER_QUEUES until SIGTERM or SIGINT.
 *
 * `GET /healthz` answers while the process lives, `GET /readyz` while every queue is polled.
 */
const main = async (): Promise<void> => {
  const config = loadConfig();
  const log = createLog(config, 'worker');
  installRuntime({ config, log });
  const wiring = await wire(config, log);
  const workers = await startWorkers({ config, log, activities: createActivities(wiring), dataConverter: wiring.converter });
  const served = config.WORKER_QUEUES.split(',').map((name) => name.trim());
  const expected = QUEUES.filter((queue) => served.includes(queue));

  const health = createServer((request, response) => {
    const silent = expected.filter((queue) => !workers.polling().includes(queue));
    const healthy = request.url === '/healthz' || silent.length === 0;
    response.writeHead(healthy ? 200 : 503, { 'content-type': 'application/json' });
    response.end(JSON.stringify(healthy ? { status: 'ok', queues: workers.polling() } : { status: 'unavailable', notPolled: silent }));
  });
  health.listen(config.WORKER_HEALTH_PORT, config.API_HOST);
  log.info({ queues: workers.polling() }, 'worker ready');

  const stop = (signal: string): void => {
    log.info({ signal, graceMs: config.SHUTDOWN_GRACE }, 'worker stopping');
    void workers.stop();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  try {
    await workers.done;
  } finally {
    health.close();
    await wiring.close();
  }
  log.info('worker stopped');
};

runProgram(main);
