import { z } from 'zod';
import { CALL_STATES, RESULTS } from '../domain/call.ts';
import { BULK_OUTCOMES, MOST_CALLS_AT_ONCE, RULINGS } from '../domain/bulk.ts';
import { GATES } from '../domain/messages.ts';
import { PAID_FOR } from '../domain/cost.ts';
import { VOICE_OUTCOMES } from '../domain/voice.ts';
import { PresetBindingShape } from './settings.schema.ts';
import { STEPS } from '../domain/steps.ts';

/** Shapes that routes share. What goes in is strict: an unknown key is a mistake, and is told. */
export const ProjectParams = z.strictObject({ project: z.string().max(40) });
export const CallParams = z.strictObject({ project: z.string().max(40), callId: z.string().max(200) });
export const RunParams = z.strictObject({ project: z.string().max(40), runId: z.string().max(300) });

export const Paging = { limit: z.coerce.number().int().min(1).max(200).default(50), cursor: z.string().max(500).optional() };

/** What lists of calls are filtered by, beside the state. */
export const CallFilterFields = {
  source: z.string().max(40).optional(),
  text: z.string().max(100).optional(),
  startedFrom: z.iso.datetime({ offset: true }).optional(),
  startedTo: z.iso.datetime({ offset: true }).optional(),
};
const CallFilterShape = z.strictObject(CallFilterFields);

export const filterOf = ({ source, text, startedFrom, startedTo }: z.output<typeof CallFilterShape>) => ({
  ...(source ? { source } : {}),
  ...(text ? { text } : {}),
  ...(startedFrom ? { startedFrom: new Date(startedFrom) } : {}),
  ...(startedTo ? { startedTo: new Date(startedTo) } : {}),
});

const time = z.iso.datetime();
export const StepShape = z.enum(STEPS);
export const StateShape = z.enum(CALL_STATES);

export const AttentionShape = z.object({ step: StepShape, code: z.string(), message: z.string(), advice: z.string(), attempts: z.number(), sinceMs: z.number() });

export const CallShape = z.object({
  callId: z.string(),
  source: z.string(),
  state: StateShape,
  step: StepShape.nullable(),
  result: z.enum(RESULTS).nullable(),
  reason: z.string().nullable(),
  attention: AttentionShape.nullable(),
  version: z.number(),
  direction: z.string(),
  originPhone: z.string().nullable(),
  destinationPhone: z.string().nullable(),
  queueName: z.string().nullable(),
  agentName: z.string().nullable(),
  /** As it stands: after reviews, without advisory questions. */
  scorePercent: z.number().nullable(),
  passed: z.boolean().nullable(),
  startedAt: time,
  updatedAt: time,
  endedAt: time.nullable(),
});

export const VersionShape = z.object({
  version: z.number(),
  runId: z.string().nullable(),
  startedFrom: StepShape,
  /** As `sales@3`; null before any step has asked. */
  preset: z.string().nullable(),
  state: StateShape,
  result: z.enum(RESULTS).nullable(),
  reason: z.string().nullable(),
  recording: z.object({ bytes: z.number(), sha256: z.string(), format: z.string() }).nullable(),
  transcript: z.object({ turns: z.number(), durationMs: z.number(), provider: z.string(), model: z.string(), language: z.string().nullable() }).nullable(),
  /** As it stands, and as the model's answers alone make it. */
  scorePercent: z.number().nullable(),
  aiScorePercent: z.number().nullable(),
  reviewed: z.boolean(),
  crm: z.object({ scenario: z.string(), action: z.string(), reasons: z.array(z.string()), records: z.record(z.string(), z.string()) }).nullable(),
  startedAt: time,
  endedAt: time.nullable(),
});

export const ACTIONS = ['approve', 'reject', 'retry', 'skip-step', 'give-up', 'reprocess'] as const;

/** Whether what people have changed is stored and pushed. */
export const PublicationShape = z.object({ state: z.enum(['pending', 'done', 'failed']), error: z.object({ message: z.string(), advice: z.string() }).nullable(), updatedAt: time });

export const CallDetailShape = CallShape.extend({
  actions: z.array(z.enum(ACTIONS)),
  versions: z.array(VersionShape),
  effects: z.array(z.object({ key: z.string(), effect: z.string(), target: z.string(), class: z.string(), state: z.string(), plannedAt: time, doneAt: time.nullable(), receipt: z.record(z.string(), z.unknown()).nullable() })),
  costs: z.array(z.object({ version: z.number(), step: z.enum(PAID_FOR), kind: z.string(), provider: z.string(), model: z.string(), state: z.string(), microUsd: z.number(), at: time })),
  publication: PublicationShape.nullable(),
  /** The voice call that it was, if we placed it. */
  voiceCall: z.object({ voiceCallId: z.string(), url: z.string(), outcome: z.enum(VOICE_OUTCOMES).nullable(), batchId: z.string().nullable() }).nullable(),
  links: z.object({ report: z.string(), transcript: z.string().nullable(), analysis: z.string().nullable(), recording: z.string().nullable(), temporal: z.string().nullable() }),
});

export const CallListShape = z.object({ calls: z.array(CallShape), next: z.string().nullable(), countByState: z.partialRecord(StateShape, z.number()) });

/** For whom a machine acts; a person is who signed in. */
const person = z.string().trim().min(1).max(200);
const reason = z.string().trim().min(1).max(1_000);
export const ApproveBody = z.strictObject({ by: person.optional(), note: z.string().max(1_000).optional() });
export const RejectBody = z.strictObject({ by: person.optional(), reason });
export const RetryBody = z.strictObject({ by: person.optional(), from: StepShape.optional() });
export const SkipBody = z.strictObject({ by: person.optional(), step: StepShape });
export const GiveUpBody = z.strictObject({ by: person.optional(), reason });
export const ReprocessBody = z.strictObject({ by: person.optional(), from: StepShape.default('recording'), /** Of the new version; default: the one that the call's category is bound to. */ preset: PresetBindingShape.optional() });

/** Which calls: these, or those that a filter finds. */
const bulk = {
  by: person.optional(),
  ids: z.array(z.string().min(1).max(200)).min(1).max(MOST_CALLS_AT_ONCE).optional(),
  filter: CallFilterShape.optional(),
  /** Only calls that wait there: to be let in, or with what they mean to do in the CRM. */
  at: z.enum(GATES).default('staging'),
  /** Only says what it would do. */
  dryRun: z.boolean().default(false),
};
const ONE_OF = { message: 'give either ids or filter', path: ['ids'] };
export const BulkApproveBody = z.strictObject(bulk).refine(({ ids, filter }) => (ids === undefined) !== (filter === undefined), ONE_OF);
export const BulkRejectBody = z.strictObject({ ...bulk, reason }).refine(({ ids, filter }) => (ids === undefined) !== (filter === undefined), ONE_OF);
export const BulkAcceptedShape = z.object({
  /** Null of a dry run. */
  bulkId: z.string().nullable(),
  /** Calls that it rules on. */
  count: z.number(),
  /** There are more that the filter finds; they are ruled on in another go. */
  more: z.boolean(),
  would: z.string().nullable(),
});
export const BulkRulingParams = z.strictObject({ project: z.string().max(40), bulkId: z.string().max(64) });
export const BulkRulingShape = z.object({
  bulkId: z.string(),
  ruling: z.enum(RULINGS),
  at: z.enum(GATES),
  by: z.string(),
  reason: z.string().nullable(),
  state: z.enum(['running', 'ended']),
  total: z.number(),
  done: z.number(),
  refused: z.number(),
  failed: z.number(),
  pending: z.number(),
  /** Those that were not ruled on, and why. */
  notDone: z.array(z.object({ callId: z.string(), outcome: z.enum(BULK_OUTCOMES), detail: z.string().nullable() })),
  startedAt: time,
  endedAt: time.nullable(),
});

export const AcceptedShape = z.object({ callId: z.string(), accepted: z.literal(true) });
export const ReprocessedShape = z.object({ callId: z.string(), started: z.boolean(), version: z.number() });

export const RunShape = z.object({
  runId: z.string(),
  source: z.string(),
  state: z.string(),
  windowFrom: time,
  windowTo: time,
  pages: z.number(),
  error: z.string().nullable(),
  report: z.record(z.string(), z.unknown()).nullable(),
  startedAt: time,
  endedAt: time.nullable(),
});
export const RunListShape = z.object({ runs: z.array(RunShape), next: z.string().nullable() });

export const ScheduleShape = z.object({
  id: z.string(),
  paused: z.boolean(),
  note: z.string().optional(),
  spec: z.string(),
  overlap: z.string(),
  catchupWindowMs: z.number(),
  nextRuns: z.array(z.string()),
  recentRuns: z.array(z.object({ scheduledAt: z.string(), startedAt: z.string(), workflowId: z.string() })),
  missed: z.number(),
  skipped: z.number(),
  buffered: z.number(),
});
