import { z } from 'zod';
import { MOST_RESCORED, RESCORE_STATES } from '../domain/rescore.ts';
import { CategoryName, PresetBindingShape } from './settings.schema.ts';

const time = z.iso.datetime({ offset: true });
const SELECTION = {
  /** What is looked at: a preset, its newest version or another. */
  preset: PresetBindingShape,
  callIds: z.array(z.string().min(1).max(200)).min(1).max(MOST_RESCORED).optional(),
  category: CategoryName.optional(),
  startedFrom: time.optional(),
  startedTo: time.optional(),
  limit: z.number().int().min(1).max(MOST_RESCORED).default(200),
  /** How many of the calls the old preset grades once more: without them nobody knows what is noise. */
  sample: z.number().int().min(0).max(MOST_RESCORED).default(30),
  /** Also extracts the CRM's facts anew and decides on them: twice the requests. The CRM is only read. */
  facts: z.boolean().default(true),
};

export const ForecastBody = z.strictObject(SELECTION);
export const StartRescoreBody = z.strictObject({ ...SELECTION, /** Not started when the forecast is above it, or no price is known. */ mostMicroUsd: z.number().int().min(0).max(1e12).optional() });
export const PromoteBody = z.strictObject({ /** As the run shows it, to say what is meant. */ preset: z.string().max(60), categories: z.array(z.union([CategoryName, z.literal('default')])).min(1).max(40) });
export const NothingBody = z.strictObject({});

export const ForecastShape = z.object({ preset: z.string(), calls: z.number(), sampled: z.number(), requests: z.number(), inputTokens: z.number(), outputTokens: z.number(), microUsd: z.number().nullable() });

const RateShape = z.object({ count: z.number(), of: z.number(), rate: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable() });
const ExcessShape = z.object({ rate: z.number(), low: z.number(), high: z.number(), beyondNoise: z.boolean() }).nullable();
const MeanShape = z.object({ n: z.number(), mean: z.number().nullable(), low: z.number().nullable(), high: z.number().nullable() });
const counts = z.record(z.string(), z.number());
const MoreFewerShape = z.object({ more: z.number(), fewer: z.number() });
export const SummaryShape = z.object({
  calls: z.number(),
  scoreDifference: MeanShape,
  noiseDifference: MeanShape,
  questions: z.array(z.object({ criterion: z.string(), flips: RateShape, noise: RateShape, excess: ExcessShape, changes: counts })),
  onlyOld: z.array(z.string()),
  onlyNew: z.array(z.string()),
  decisions: z.object({ flips: RateShape, noise: RateShape, excess: ExcessShape, changes: counts }),
  leads: MoreFewerShape,
  alerts: MoreFewerShape,
  notes: z.number(),
});

const RescoreShape = z.object({
  rescoreId: z.string(),
  preset: z.string(),
  state: z.enum(RESCORE_STATES),
  reason: z.string().nullable(),
  facts: z.boolean(),
  forecast: ForecastShape.omit({ preset: true }),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  endedAt: z.iso.datetime().nullable(),
  promoted: z.object({ categories: z.array(z.string()), by: z.string(), at: z.iso.datetime() }).nullable(),
});
export const RescoreListShape = z.object({ rescores: z.array(RescoreShape), next: z.string().nullable() });
export const RescoreViewShape = RescoreShape.extend({
  progress: z.object({ waiting: z.number(), done: z.number(), failed: z.number() }),
  /** `unsettled` requests count with what was set aside for them. */
  actual: z.object({ requests: z.number(), unsettled: z.number(), microUsd: z.number() }),
  summary: SummaryShape,
});

const VerdictsShape = z.record(z.string(), z.string());
const GradeShape = z.object({ preset: z.string(), rubric: z.string(), scorePercent: z.number().nullable(), verdicts: VerdictsShape, decision: z.object({ scenario: z.string(), action: z.string() }).nullable() });
export const RescoreCallsShape = z.object({
  calls: z.array(
    z.object({
      callId: z.string(),
      version: z.number(),
      state: z.enum(['waiting', 'done', 'failed']),
      old: GradeShape.nullable(),
      new: GradeShape.nullable(),
      again: GradeShape.nullable(),
      change: z.object({ flips: z.array(z.string()), scoreDifference: z.number().nullable(), decision: z.string().nullable(), lead: z.enum(['more', 'fewer']).nullable(), alert: z.enum(['more', 'fewer']).nullable(), note: z.boolean() }).nullable(),
      costMicroUsd: z.number().nullable(),
      error: z.object({ code: z.string(), message: z.string(), advice: z.string() }).nullable(),
    }),
  ),
  next: z.string().nullable(),
});
export const RescoreParams = z.strictObject({ project: z.string().max(40), rescoreId: z.string().max(40) });
