import { loadConfig } from '../config.ts';
import { runProgram } from '../program.ts';
import { createLog } from '../telemetry/log.ts';
import { wire } from '../wiring.ts';
import { startApi } from './start.ts';

/** The API as a program: serves until SIGTERM or SIGINT. */
const main = async (): Promise<void> => {
  const config = loadConfig();
  const log = createLog(config, 'api');
  const wiring = await wire(config, log);
  const api = await startApi(wiring);
  if (api.firstAdmin) process.stderr.write(`First administrator: ${api.firstAdmin.email}, password ${api.firstAdmin.password}. It is not shown again.\n`);
  log.info({ url: api.url, docs: `${api.url}/docs` }, 'API ready');
  await new Promise((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  log.info('API stopping');
  await api.close();
  await wiring.close();
};

runProgram(main);
