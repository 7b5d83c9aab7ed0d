import { startApi } from './api/start.ts';
import type { Config } from './config.ts';
import type { Log } from './telemetry/log.ts';
import { createActivities, wire, type Wiring } from './wiring.ts';
import { installRuntime, startWorkers, type Workers } from './workers.ts';

/** Worker and API in one process: the embedded database can be opened by one process only. */
export interface App {
  wiring: Wiring;
  api: Awaited<ReturnType<typeof startApi>>;
  workers: Workers;
  stop(): Promise<void>;
}

export const startApp = async (config: Config, log: Log): Promise<App> => {
  installRuntime({ config, log });
  const wiring = await wire(config, log);
  const api = await startApi(wiring);
  const workers = await startWorkers({ config, log, activities: createActivities(wiring), dataConverter: wiring.converter });
  return {
    wiring,
    api,
    workers,
    // In the order of who asks whom: no request finds half of it gone.
    stop: async () => {
      await api.close();
      await workers.stop().catch(() => {});
      await wiring.close();
    },
  };
};
