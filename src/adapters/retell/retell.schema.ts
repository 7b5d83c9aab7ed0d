import { z } from 'zod';

/**
 * What Retell tells of a call: in its answers and in its webhooks.
 *
 * Sources: docs.retellai.com/api-references/get-call, and the types of `retell-sdk` 5.66. Words that are enums there
 * (disconnection reasons, roles, sentiments) are texts here, because there will be new ones; unknown fields are let
 * through and kept, because what is stored of a call should be all that was told. Fields that only describe a call
 * become absent where they cannot be read: one odd word must not keep a call from being known.
 */

const text = z.string().nullish().catch(undefined);
const flag = z.boolean().nullish().catch(undefined);
const amount = z.number().finite().nonnegative().nullish().catch(undefined);
/** Epoch ms. */
const moment = z.number().int().nonnegative().max(8_640_000_000_000_000).nullish().catch(undefined);

/** Seconds from the beginning of the call. */
const Word = z.looseObject({ word: z.string(), start: z.number().nullish(), end: z.number().nullish() });

/** `role`: agent, user, transfer_target; more may come. */
export const RetellUtteranceSchema = z.looseObject({ role: z.string(), content: z.string().default(''), words: z.array(Word).nullish().catch(undefined) });
export type RetellUtterance = z.output<typeof RetellUtteranceSchema>;

export const RetellAnalysisSchema = z.looseObject({
  call_summary: text,
  in_voicemail: flag,
  /** Negative, Positive, Neutral or Unknown. */
  user_sentiment: text,
  call_successful: flag,
  custom_analysis_data: z.unknown().optional(),
});

/** In US cents, with fractions. */
export const RetellCostSchema = z.looseObject({
  combined_cost: amount,
  product_costs: z.array(z.looseObject({ product: z.string(), cost: z.number(), unit_price: amount })).nullish().catch(undefined),
  total_duration_seconds: amount,
  total_duration_unit_price: amount,
});

export const RETELL_STATUSES = ['registered', 'not_connected', 'ongoing', 'ended', 'error'] as const;

export const RetellCallSchema = z.looseObject({
  call_id: z.string().min(1).max(200),
  /** `phone_call` or `web_call`. */
  call_type: text,
  call_status: z.enum(RETELL_STATUSES),
  /** Phone calls only. */
  direction: z.enum(['inbound', 'outbound']).nullish().catch(undefined),
  agent_id: text,
  agent_version: z.union([z.number(), z.string()]).nullish().catch(undefined),
  agent_name: text,
  from_number: text,
  to_number: text,
  start_timestamp: moment,
  end_timestamp: moment,
  duration_ms: amount,
  metadata: z.record(z.string(), z.unknown()).nullish().catch(undefined),
  retell_llm_dynamic_variables: z.record(z.string(), z.unknown()).nullish().catch(undefined),
  disconnection_reason: text,
  transcript: text,
  transcript_object: z.array(RetellUtteranceSchema).nullish().catch(undefined),
  /** Without personal data, where the storage setting keeps no other. Weaves in what was not said. */
  scrubbed_transcript_with_tool_calls: z.array(RetellUtteranceSchema).nullish().catch(undefined),
  recording_url: text,
  recording_multi_channel_url: text,
  scrubbed_recording_url: text,
  scrubbed_recording_multi_channel_url: text,
  public_log_url: text,
  /** The links above are signed, and expire. */
  opt_in_signed_url: flag,
  call_analysis: RetellAnalysisSchema.nullish().catch(undefined),
  call_cost: RetellCostSchema.nullish().catch(undefined),
});
export type RetellCall = z.output<typeof RetellCallSchema>;

/** One that cannot be read must not hide the others of its page. */
export const RetellListSchema = z.looseObject({ items: z.array(z.unknown()), has_more: z.boolean().nullish(), pagination_key: text });

/** How many calls the account has on the line, and may have. */
export const RetellConcurrencySchema = z.looseObject({
  current_concurrency: z.number().int().nonnegative(),
  concurrency_limit: z.number().int().nonnegative(),
  concurrency_burst_enabled: flag,
  concurrency_burst_limit: amount,
  reserved_inbound_concurrency: amount,
});
export type RetellConcurrency = z.output<typeof RetellConcurrencySchema>;
