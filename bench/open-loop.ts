import { Agent, request } from 'node:http';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** What became of one request. */
export interface Sent {
  /** When it was due, in ms from the beginning. */
  dueMs: number;
  /** From when it was due until it was answered, in ms: a generator or a server that falls behind shows. */
  tookMs: number;
  /** 0: no answer. */
  status: number;
}

export interface Load {
  url: string;
  perSecond: number;
  count: number;
  /** Made when it is due: what is signed is signed then. */
  make: (index: number) => { headers: Record<string, string>; body: Buffer };
  /** Told before each request goes out. */
  onDue?: (dueMs: number) => void;
}

const TIMEOUT_MS = 10_000;

/**
 * Sends requests at a steady rate, whether or not earlier ones have been answered: as a sender of webhooks does, and
 * so that a stall is paid for by every request that was due meanwhile.
 */
export const sendSteadily = async ({ url, perSecond, count, make, onDue }: Load): Promise<Sent[]> => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1_000 });
  const startedAt = performance.now();
  const all: Promise<Sent>[] = [];
  const sendOne = (index: number, dueMs: number): Promise<Sent> =>
    new Promise((resolve) => {
      const { headers, body } = make(index);
      const done = (status: number): void => resolve({ dueMs, tookMs: performance.now() - startedAt - dueMs, status });
      const sending = request(url, { method: 'POST', agent, headers: { ...headers, 'content-type': 'application/json', 'content-length': body.byteLength }, timeout: TIMEOUT_MS }, (response) => {
        response.resume();
        response.once('end', () => done(response.statusCode ?? 0));
        response.once('error', () => done(0));
      });
      sending.once('timeout', () => sending.destroy());
      sending.once('error', () => done(0));
      sending.end(body);
    });
  for (let index = 0; index < count; ) {
    const nowMs = performance.now() - startedAt;
    for (; index < count; index += 1) {
      const dueMs = (index * 1_000) / perSecond;
      if (dueMs > nowMs) break;
      onDue?.(dueMs);
      all.push(sendOne(index, dueMs));
    }
    await sleep(1);
  }
  const sent = await Promise.all(all);
  agent.destroy();
  return sent;
};

export const percentile = (values: readonly number[], share: number): number => {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
};
