import { z } from 'zod';
import type { QueueView } from '../db/voice-lines.ts';
import type { BatchPace, VoiceBatchRow } from '../db/voice-batches.ts';
import { isTimeZone } from '../domain/local-time.ts';
import type { CallingRules } from '../domain/daily-limit.ts';
import { VOICE_OUTCOMES, VOICE_PRIORITIES, VOICE_STATES, type VoicePriority } from '../domain/voice.ts';
import { BATCH_STATES, type BatchCounts, forecastEnd, progressOf } from '../domain/voice-batches.ts';
import { Paging } from './shapes.ts';
import { REPEATS } from './uploads/dial-list.ts';
import { AgentId } from './voice-calls.schema.ts';

const time = z.iso.datetime();
const count = z.number().int();
const person = z.string().trim().min(1).max(200);

export const BatchParams = z.strictObject({ project: z.string().max(40), batchId: z.string().max(40) });

/** 1 goes first. */
const priorityIn = z.coerce.number().int().min(1).max(5).transform((value): VoicePriority => VOICE_PRIORITIES[value - 1]!);
const name = z.string().trim().min(1).max(200).refine((text) => !/^[=+\-@]/.test(text), 'begins like a formula of a spreadsheet; write it without the leading = + - or @');

export const BatchQuery = z.strictObject({
  name: name.optional(),
  /** For rows that do not say their own. */
  from: z.string().regex(/^\+[1-9]\d{6,14}$/, 'must be a number in international notation, such as +15550100123').optional(),
  agent: AgentId.optional(),
  priority: priorityIn.default(3),
  timeZone: z.string().max(60).refine(isTimeZone, 'must be the name of a time zone, as in Asia/Singapore').optional(),
  /** What becomes of rows with a number that an earlier row has. */
  repeats: z.enum(REPEATS).default('refuse'),
  /** Begins when it is resumed. */
  paused: z.enum(['true', 'false']).default('false'),
  /** Checks every row and takes nothing in. */
  dryRun: z.enum(['true', 'false']).default('false'),
});

export const BatchAct = z.strictObject({ by: person.optional() });
export const BatchCancel = z.strictObject({ by: person.optional(), reason: z.string().trim().min(1).max(1_000).optional() });
export const BatchChange = z.strictObject({ name: name.optional(), priority: z.number().int().min(1).max(5).transform((value): VoicePriority => VOICE_PRIORITIES[value - 1]!).optional() }).refine((change) => Object.keys(change).length > 0, 'changes nothing: give name or priority');
export const BatchListQuery = z.strictObject({ ...Paging, state: z.enum(BATCH_STATES).optional() });
export const BatchRowsQuery = z.strictObject({ ...Paging, state: z.enum(VOICE_STATES).optional(), outcome: z.enum(VOICE_OUTCOMES).optional() });

const ProgressShape = z.object({ queued: count, onALine: count, open: count, settled: count, percent: z.number() });
const counts = { byState: z.partialRecord(z.enum(VOICE_STATES), count), byOutcome: z.partialRecord(z.enum(VOICE_OUTCOMES), count) };

export const BatchShape = z.object({
  batchId: z.string(),
  name: z.string(),
  state: z.enum(BATCH_STATES),
  priority: z.number(),
  calls: count,
  /** Rows of the file that were left out, being repeats of a number. */
  skipped: count,
  progress: ProgressShape,
  ...counts,
  requestedBy: z.string(),
  requestedAt: time,
  pausedSince: time.nullable(),
  pausedBy: z.string().nullable(),
  cancelledAt: time.nullable(),
  cancelledBy: z.string().nullable(),
  reason: z.string().nullable(),
});

export const BatchDetailShape = BatchShape.extend({
  rate: z.object({ dialledInLast15Minutes: count, perMinute: z.number() }),
  /** Null where nothing goes on, or nothing is known yet to reckon with. */
  forecast: z.object({ lastDialledAt: time.nullable(), lines: z.number(), secondsPerCall: z.number(), callsAhead: count }).nullable(),
});

export const BatchProblems = z.array(z.object({ row: count, line: count, field: z.string(), problem: z.string() }));

export const BatchAcceptedShape = z.object({
  /** Null of a dry run. */
  batchId: z.string().nullable(),
  /** Where to ask how it goes. */
  address: z.string().nullable(),
  state: z.enum(BATCH_STATES).nullable(),
  rows: count,
  /** Calls that are, or would be, made. */
  calls: count,
  skipped: count,
  /** Rows with a number that an earlier row has, the first hundred. */
  repeated: z.array(z.object({ row: count, firstRow: count })),
  repeatedCount: count,
  variables: z.array(z.string()),
  dryRun: z.boolean(),
  /** Of a dry run: what is wrong with which rows, the first hundred. Without one, nothing is taken in as long as there is any. */
  problems: BatchProblems,
  problemCount: count,
});

export const BatchRowShape = z.object({
  row: count,
  voiceCallId: z.string(),
  to: z.string(),
  from: z.string(),
  agent: z.string().nullable(),
  priority: z.number(),
  state: z.enum(VOICE_STATES),
  outcome: z.enum(VOICE_OUTCOMES).nullable(),
  reason: z.string().nullable(),
  /** Why it is not dialled though it is queued. */
  waitsFor: z.string().nullable(),
  notBefore: time,
  notAfter: time.nullable(),
  callId: z.string().nullable(),
  dialledAt: time.nullable(),
  startedAt: time.nullable(),
  endedAt: time.nullable(),
});

export const LinesShape = z.object({
  /** Whether somebody places calls for the project. */
  connected: z.boolean(),
  /** As it was read last; null before the first call. */
  account: z.object({ limit: count, inUseByUs: count, inUseByOthers: count, free: count, readAt: time }).nullable(),
  callsPerSecond: z.number().nullable(),
  project: z.object({
    onALine: count,
    /** 0: all that are free. */
    mostLines: count,
    quietNow: z.boolean(),
  }),
  queue: z.object({ due: count, later: count, quietHours: count, dailyLimit: count, provider: count, paused: count, nextDueAt: time.nullable() }),
  /** Why nobody is called, if nobody is. */
  heldBack: z.object({ code: z.string(), message: z.string(), advice: z.string() }).nullable(),
  lookedAt: time.nullable(),
  looksAgainAt: time.nullable(),
});

export const batchView = (batch: VoiceBatchRow, { byState, byOutcome }: BatchCounts): z.input<typeof BatchShape> => {
  const progress = progressOf({ byState, byOutcome });
  return {
    batchId: batch.id,
    name: batch.name,
    state: batch.state,
    priority: batch.priority,
    calls: batch.rows,
    skipped: batch.skipped,
    progress: { ...progress, percent: batch.rows === 0 ? 100 : Math.floor((progress.settled / batch.rows) * 1_000) / 10 },
    byState,
    byOutcome,
    requestedBy: batch.requestedBy,
    requestedAt: batch.requestedAt.toISOString(),
    pausedSince: batch.pausedAt?.toISOString() ?? null,
    pausedBy: batch.pausedBy,
    cancelledAt: batch.cancelledAt?.toISOString() ?? null,
    cancelledBy: batch.cancelledBy,
    reason: batch.reason,
  };
};

interface Forecasting {
  nowMs: number;
  pace: BatchPace;
  /** Lines that the project may have; undefined: not known. */
  lines: number | undefined;
  callsPerSecond: number | undefined;
  rules: CallingRules;
}

/** When a batch's last call will be dialled, as far as can be told. */
export const forecastOf = (batch: VoiceBatchRow, counts: BatchCounts, { nowMs, pace, lines, callsPerSecond, rules }: Forecasting): z.input<typeof BatchDetailShape>['forecast'] => {
  const { queued } = progressOf(counts);
  if (batch.state !== 'running' || queued === 0 || lines === undefined || callsPerSecond === undefined || pace.lineSeconds === null) return null;
  const secondsPerCall = Math.max(pace.lineSeconds, 1);
  const perSecond = Math.min(callsPerSecond, lines / secondsPerCall);
  const endMs = forecastEnd({ nowMs, calls: queued + pace.ahead, perSecond, rules });
  return { lastDialledAt: endMs === undefined ? null : new Date(endMs).toISOString(), lines, secondsPerCall: Math.round(secondsPerCall), callsAhead: pace.ahead };
};

export const queueView = ({ due, later, waiting, paused, nextDueAt }: QueueView): z.input<typeof LinesShape>['queue'] => ({
  due,
  later,
  quietHours: waiting.quiet_hours,
  dailyLimit: waiting.daily_limit,
  provider: waiting.provider,
  paused,
  nextDueAt: nextDueAt?.toISOString() ?? null,
});
