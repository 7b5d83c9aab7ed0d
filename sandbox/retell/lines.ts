import { randomBytes } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOnALine, scenarioFor, type StoredCall } from './call-object.ts';
import type { WebhookEvent } from './webhooks.ts';

/** How fast calls go by. */
export interface Speed {
  ringMs: number;
  talkMs: number;
  analysisMs: number;
}

export const FAST: Speed = { ringMs: 300, talkMs: 1_000, analysisMs: 200 };

interface LinesOptions {
  dataFolder: string;
  speed: Speed;
  tell: (event: WebhookEvent, callId: string) => void;
}

/** The account's calls: each goes its way by itself, from the first ring to the analysis. Kept over a restart. */
export const openLines = ({ dataFolder, speed: startSpeed, tell }: LinesOptions) => {
  mkdirSync(dataFolder, { recursive: true });
  const file = join(dataFolder, 'retell-calls.jsonl');
  const calls = new Map<string, StoredCall>();
  for (const line of textOf(file).split('\n').filter(Boolean)) {
    const stored = JSON.parse(line) as StoredCall & { deleted?: true };
    if (stored.deleted) calls.delete(stored.id);
    else calls.set(stored.id, stored);
  }
  const speed: Speed = { ...startSpeed };
  const onALine = new Map<string, StoredCall>();
  const timers = new Map<string, NodeJS.Timeout>();
  let mostAtOnce = 0;

  const save = (call: StoredCall): void => appendFileSync(file, `${JSON.stringify(call)}\n`);
  const after = (call: StoredCall, ms: number, then: () => void): void => {
    clearTimeout(timers.get(call.id));
    timers.set(call.id, setTimeout(() => {
      timers.delete(call.id);
      then();
    }, ms));
  };

  const analyse = (call: StoredCall): void => {
    call.analysedAtMs = Date.now();
    save(call);
    tell('call_analyzed', call.id);
  };
  const end = (call: StoredCall, status: StoredCall['status'], reason: string): void => {
    clearTimeout(timers.get(call.id));
    onALine.delete(call.id);
    Object.assign(call, { status, reason, endedAtMs: Date.now() });
    save(call);
    tell('call_ended', call.id);
    if (!scenarioFor(call).neverAnalysed) after(call, speed.analysisMs, () => analyse(call));
  };
  const missed = (call: StoredCall, reason: string): void => {
    const { startsAnyway } = scenarioFor(call);
    if (startsAnyway) call.startedAtMs = Date.now();
    end(call, startsAnyway ? 'ended' : 'not_connected', reason);
  };
  const answer = (call: StoredCall): void => {
    const { long, ends, breaks } = scenarioFor(call);
    Object.assign(call, { status: 'ongoing', startedAtMs: Date.now() });
    save(call);
    tell('call_started', call.id);
    if (!long) after(call, speed.talkMs, () => end(call, breaks ? 'error' : 'ended', ends));
  };
  return {
    speed,
    all: (): StoredCall[] => [...calls.values()],
    get: (id: string): StoredCall | undefined => calls.get(id),
    onALine: (): StoredCall[] => [...onALine.values()],
    mostAtOnce: (): number => mostAtOnce,
    /** Puts a call on a line. */
    place(call: Omit<StoredCall, 'id' | 'createdAtMs' | 'status'>): StoredCall {
      const placed: StoredCall = { ...call, id: `call_${randomBytes(14).toString('hex')}`, createdAtMs: Date.now(), status: 'registered' };
      calls.set(placed.id, placed);
      onALine.set(placed.id, placed);
      save(placed);
      mostAtOnce = Math.max(mostAtOnce, onALine.size);
      const { unconnected } = scenarioFor(placed);
      after(placed, placed.direction === 'inbound' ? 0 : speed.ringMs, () => (unconnected && placed.direction === 'outbound' ? missed(placed, unconnected) : answer(placed)));
      return placed;
    },
    /** Adds a call that is over and analysed, and tells nobody. */
    remember(call: Omit<StoredCall, 'status' | 'createdAtMs'> & { startedAtMs: number }): StoredCall {
      const endedAtMs = call.startedAtMs + speed.talkMs;
      const over: StoredCall = { ...call, createdAtMs: call.startedAtMs, status: 'ended', reason: 'user_hangup', endedAtMs, analysedAtMs: endedAtMs };
      calls.set(over.id, over);
      save(over);
      return over;
    },
    end(call: StoredCall, reason: string): void {
      if (isOnALine(call)) end(call, call.startedAtMs === undefined ? 'not_connected' : 'ended', reason);
    },
    /** Neither rings on, nor is answered, nor ends, until somebody ends it. */
    hold(call: StoredCall): void {
      clearTimeout(timers.get(call.id));
    },
    update(call: StoredCall, change: Partial<StoredCall>): void {
      save(Object.assign(call, change));
    },
    delete(call: StoredCall): void {
      clearTimeout(timers.get(call.id));
      calls.delete(call.id);
      onALine.delete(call.id);
      appendFileSync(file, `${JSON.stringify({ id: call.id, deleted: true })}\n`);
    },
    /** What the last process left on a line has lost its other end. */
    settleLeftovers(): void {
      for (const call of calls.values()) if (isOnALine(call) && !onALine.has(call.id)) end(call, call.startedAtMs === undefined ? 'not_connected' : 'error', 'error_retell');
    },
    stop(): void {
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
};

export type Lines = ReturnType<typeof openLines>;

const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
};
