import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../scripts/ports.ts';
import { type DevServer, type DevServerOptions, startDevServerProcess } from '../../scripts/dev-server.ts';

const ATTEMPTS = 3;

/** A dev server as a process of its own, for tests that read its metrics, kill it or keep its file. */
export const startTemporalProcess = async ({ port, ...options }: Pick<DevServerOptions, 'dbFile' | 'suggestContinueAsNewAt'> & { port?: number } = {}): Promise<DevServer> => {
  const cliPath = process.env['TEMPORAL_CLI'];
  if (!cliPath) throw new Error('TEMPORAL_CLI is not set. Run the tests with `npm test`, which finds the program and sets it.');
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startDevServerProcess({ ...options, cliPath, port: port ?? (await freePort()), uiPort: await freePort(), metricsPort: await freePort() });
    } catch (error) {
      // A port that was free a moment ago may be another test's now.
      if (attempt === ATTEMPTS) throw error;
    }
  }
};

/** The server publishes its counters with this delay at most. */
const PUBLISHED_WITHIN_MS = 1_500;

/** Billable Actions that the server has counted so far in our namespace, by type. */
export const actionsOf = async ({ metricsUrl }: DevServer): Promise<Map<string, number>> => {
  await sleep(PUBLISHED_WITHIN_MS);
  const text = await (await fetch(metricsUrl)).text();
  const counts = new Map<string, number>();
  for (const [, labels, value] of text.matchAll(/^action\{([^}]*)\} ([\d.e+]+)$/gm)) {
    if (!labels!.includes('namespace="default"')) continue;
    const type = /action_type="([^"]*)"/.exec(labels!)?.[1] ?? 'unknown';
    counts.set(type, (counts.get(type) ?? 0) + Number(value));
  }
  return counts;
};

/** What happened between two countings. */
export const actionsBetween = (before: Map<string, number>, after: Map<string, number>): { total: number; byType: Record<string, number> } => {
  const byType = Object.fromEntries([...after].map(([type, count]) => [type, count - (before.get(type) ?? 0)] as const).filter(([, count]) => count > 0));
  return { total: Object.values(byType).reduce((sum, count) => sum + count, 0), byType };
};
