import type { CallDetails, CallResult, CallState, Direction } from './call.ts';
import { centsToMicroUsd, type CostKind, type PaidFor, type Usage } from './cost.ts';
import type { CrmResult } from './crm-rules.ts';
import { type EffectiveAnalysis, rubricOf } from './review.ts';
import type { ProviderCall, VoiceCallRequest, VoiceOutcome, VoiceState } from './voice.ts';
import { COLUMNS, type ColumnValues, fileColumns, type WarehouseRow, type WarehouseTable, type WarehouseValue } from './warehouse-tables.ts';

/** What the rows of the warehouse are made of, as the database holds it. */
export interface CallFacts {
  callId: string;
  /** Made of a hash of its ID: what says of an erased call that it is gone does not say which. */
  unitId: string;
  source: string;
  details: CallDetails;
  category: string | undefined;
  team: string | undefined;
  state: CallState;
  result: CallResult | null;
  version: number;
  endedAt: Date | null;
  durationMs: number | undefined;
  hasRecording: boolean;
  hasTranscript: boolean;
  language: string | undefined;
  /** The newest one, and the version that it is of. */
  graded: { version: number; analysis: EffectiveAnalysis } | undefined;
  crm: CrmResult | undefined;
  voice: VoiceFacts | undefined;
  costMicroUsd: number;
}

export interface VoiceFacts {
  voiceCallId: string;
  batchId: string | null;
  state: VoiceState;
  outcome: VoiceOutcome | null;
  request: VoiceCallRequest;
  observed: ProviderCall | null;
  requestedAt: Date;
  dialledAt: Date | null;
  startedAt: Date | null;
  callId: string | null;
}

export interface CostFacts {
  /** Hashed: the plain one names what was asked. */
  costKey: string;
  callId: string;
  version: number;
  step: PaidFor;
  kind: CostKind;
  provider: string;
  model: string;
  state: 'reserved' | 'settled';
  usage: Usage | null;
  microUsd: number;
  reservedMicroUsd: number;
  /** `YYYY-MM-DD`. */
  day: string;
  reservedAt: Date;
  settledAt: Date | null;
}

export interface EffectFacts {
  effectKey: string;
  callId: string;
  version: number;
  effect: string;
  target: string;
  class: string;
  state: string;
  receipt: Record<string, unknown> | null;
  plannedAt: Date;
  doneAt: Date | null;
}

export interface TrackingFacts {
  id: string;
  name: string;
  subject: string;
  state: string;
  occurredAt: Date;
  deliveredAt: Date | null;
  voice: VoiceFacts | undefined;
}

/** A unit as it is to be loaded into one table. Without rows it is no more, or not in this partition. */
export interface UnitRows {
  table: WarehouseTable;
  unitId: string;
  /** `YYYY-MM-DD`, UTC. */
  dt: string;
  /** Without the columns that every row begins with. */
  rows: WarehouseRow[];
}

const row = <T extends WarehouseTable>(table: T, values: ColumnValues<T>): WarehouseRow => Object.fromEntries(COLUMNS[table].map(({ name }) => [name, (values as Record<string, WarehouseValue | undefined>)[name] ?? null]));

/** As the engines take it: UTC, to the millisecond. */
export const timestampText = (at: Date | number): string => new Date(at).toISOString().slice(0, 23).replace('T', ' ');
export const dayOf = (at: Date | number): string => new Date(at).toISOString().slice(0, 10);
const optional = (at: Date | null | undefined): string | null => (at ? timestampText(at) : null);

const dimensionsOf = ({ source, details, category, team, voice }: CallFacts) => ({
  source,
  direction: details.direction,
  call_started_at: timestampText(details.startedAtMs),
  queue: details.queueName,
  team,
  agent: details.agentName ?? agentOf(voice),
  category,
});

const agentOf = (voice: VoiceFacts | undefined): string | undefined => voice?.observed?.agentId ?? voice?.request.agent;
const directionOf = (voice: VoiceFacts | undefined): Direction => voice?.observed?.direction ?? 'outbound';

/** When a voice call counts as of: its start or, while there is none, the wish. */
export const voiceTime = ({ startedAt, requestedAt }: Pick<VoiceFacts, 'startedAt' | 'requestedAt'>): Date => startedAt ?? requestedAt;

const voiceColumns = (voice: VoiceFacts | undefined) => ({
  voice_call_id: voice?.voiceCallId,
  voice_batch_id: voice?.batchId ?? null,
  voice_state: voice?.state,
  disconnection_reason: voice?.observed?.disconnectionReason,
  requested_at: optional(voice?.requestedAt),
  dialled_at: optional(voice?.dialledAt),
});

const outcomeOf = ({ details, voice }: CallFacts): string => {
  if (voice?.outcome) return voice.outcome;
  return details.status === 'abandoned' ? 'abandoned' : 'connected';
};

/** A call with its answers, and with what was noticed in it. */
export const callUnits = (call: CallFacts): UnitRows[] => {
  const unit = { unitId: call.unitId, dt: dayOf(call.details.startedAtMs) };
  return [
    { table: 'calls', ...unit, rows: [callRow(call)] },
    { table: 'answers', ...unit, rows: answerRows(call) },
    { table: 'events', ...unit, rows: noticedRows(call) },
  ];
};

const callRow = (call: CallFacts): WarehouseRow => {
  const analysis = call.graded?.analysis;
  const outcome = outcomeOf(call);
  return row('calls', {
    call_id: call.callId,
    ...dimensionsOf(call),
    duration_ms: call.durationMs ?? call.voice?.observed?.durationMs,
    connected: outcome === 'connected',
    outcome,
    state: call.state,
    result: call.result,
    version: call.version,
    has_recording: call.hasRecording,
    has_transcript: call.hasTranscript,
    has_analysis: analysis !== undefined,
    language: call.language,
    rubric: analysis?.versions.rubric,
    score_percent: analysis?.grading.total_score_percent ?? null,
    passed: analysis?.grading.pass ?? null,
    reviewed: analysis ? analysis.review !== undefined : null,
    sentiment: analysis?.sentiment,
    crm_scenario: call.crm?.scenario,
    crm_action: doneInCrm(call.crm),
    lead_id: call.crm?.records.leadId,
    account_id: call.crm?.records.accountId,
    contact_id: call.crm?.records.contactId,
    opportunity_id: call.crm?.records.opportunityId,
    ...voiceColumns(call.voice),
    cost_micro_usd: call.costMicroUsd,
    processed_at: optional(call.endedAt),
  });
};

/** A lead that was to be made and was there already is none that came of the call. */
const doneInCrm = (crm: CrmResult | undefined): string | undefined => (crm?.action === 'create_lead' && crm.records.duplicateOf !== undefined ? 'note_duplicate' : crm?.action);

const answerRows = (call: CallFacts): WarehouseRow[] => {
  if (!call.graded) return [];
  const { analysis, version } = call.graded;
  const criteria = new Map(rubricOf(analysis).criteria.map((criterion) => [criterion.id, criterion]));
  return analysis.answers.map((answer) => {
    const criterion = criteria.get(answer.criterion);
    const weight = criterion?.weight ?? 0;
    const counts = answer.verdict !== 'not_applicable' && !answer.advisory;
    return row('answers', {
      call_id: call.callId,
      criterion: answer.criterion,
      ...dimensionsOf(call),
      version,
      rubric: analysis.versions.rubric,
      criterion_category: criterion?.category,
      verdict: answer.verdict,
      claimed: answer.claimed,
      points: counts && answer.verdict === 'yes' ? weight : 0,
      out_of: counts ? weight : 0,
      quotes: answer.evidence.length,
      reviewed: answer.review !== undefined,
      corrected: answer.review?.outcome === 'corrected',
      advisory: answer.advisory === true,
    });
  });
};

const MOST_OF_AN_ISSUE = 200;
/** Never the half of a character: engines refuse a whole file that has one. */
const firstOf = (text: string, most: number): string => Array.from(text).slice(0, most).join('');
/** So that the same issue in the same words is counted as one. */
const issueText = (text: string): string => firstOf(text.normalize('NFC').replaceAll(/\s+/g, ' ').trim().replace(/[.;,]+$/, '').toLowerCase(), MOST_OF_AN_ISSUE);

const noticedRows = (call: CallFacts): WarehouseRow[] => {
  const analysis = call.graded?.analysis;
  if (!analysis) return [];
  const noticed = (kind: 'pattern' | 'issue', index: number, name: string, positionMs?: number) =>
    row('events', {
      event_id: `${call.unitId}/${kind}/${index}`,
      kind,
      name,
      call_id: call.callId,
      voice_call_id: call.voice?.voiceCallId,
      ...dimensionsOf(call),
      occurred_at: timestampText(call.details.startedAtMs),
      position_ms: positionMs,
    });
  const issues = [...new Set(analysis.issues_detected.map(issueText))].filter((text) => text !== '');
  return [
    ...(analysis.patterns ?? []).map(({ kind, evidence }, index) => noticed('pattern', index, kind, evidence.startMs)),
    ...issues.map((text, index) => noticed('issue', index, text)),
  ];
};

export const voiceUnitId = (voiceCallId: string): string => `voice/${voiceCallId}`;

/** A voice call for as long as it has no call of its own: queued, under way, or never answered. */
export const voiceUnit = (voice: VoiceFacts): UnitRows => {
  const { observed } = voice;
  return {
    table: 'calls',
    unitId: voiceUnitId(voice.voiceCallId),
    dt: dayOf(voiceTime(voice)),
    rows:
      voice.callId !== null
        ? []
        : [
            row('calls', {
              call_id: voice.voiceCallId,
              source: 'voice',
              direction: directionOf(voice),
              call_started_at: timestampText(voiceTime(voice)),
              agent: agentOf(voice),
              duration_ms: observed?.durationMs,
              connected: voice.outcome === null ? null : voice.outcome === 'connected',
              outcome: voice.outcome,
              has_recording: false,
              has_transcript: false,
              has_analysis: false,
              ...voiceColumns(voice),
              cost_micro_usd: centsToMicroUsd(observed?.costCents ?? 0),
            }),
          ],
  };
};

export const costUnitId = (costKey: string): string => `cost/${costKey}`;

export const costUnit = (cost: CostFacts): UnitRows => {
  const { usage } = cost;
  return {
    table: 'costs',
    unitId: costUnitId(cost.costKey),
    dt: cost.day,
    rows: [
      row('costs', {
        cost_key: cost.costKey,
        call_id: cost.callId,
        version: cost.version,
        step: cost.step,
        kind: cost.kind,
        provider: cost.provider,
        model: cost.model,
        state: cost.state,
        micro_usd: cost.state === 'settled' ? cost.microUsd : cost.reservedMicroUsd,
        day: cost.day,
        input_tokens: usage && 'inputTokens' in usage ? usage.inputTokens : null,
        cached_input_tokens: usage && 'cachedInputTokens' in usage ? usage.cachedInputTokens : null,
        output_tokens: usage && 'outputTokens' in usage ? usage.outputTokens : null,
        audio_seconds: usage && 'seconds' in usage ? usage.seconds : null,
        reserved_at: timestampText(cost.reservedAt),
        settled_at: optional(cost.settledAt),
      }),
    ],
  };
};

export const effectUnitId = (effectKey: string): string => `effect/${effectKey}`;

export const effectUnit = (effect: EffectFacts): UnitRows => ({
  table: 'effects',
  unitId: effectUnitId(effect.effectKey),
  dt: dayOf(effect.plannedAt),
  rows: [
    row('effects', {
      effect_key: effect.effectKey,
      call_id: effect.callId,
      version: effect.version,
      effect: effect.effect,
      target: effect.target,
      class: effect.class,
      state: effect.state,
      lead_id: textOf(effect.receipt?.['leadId']),
      account_id: textOf(effect.receipt?.['accountId']),
      contact_id: textOf(effect.receipt?.['contactId']),
      opportunity_id: textOf(effect.receipt?.['opportunityId']),
      task_id: textOf(effect.receipt?.['taskId']),
      note_id: textOf(effect.receipt?.['noteId']),
      planned_at: timestampText(effect.plannedAt),
      done_at: optional(effect.doneAt),
    }),
  ],
});

/** IDs come as text or, from amoCRM, as numbers. */
const textOf = (value: unknown): string | null => (typeof value === 'string' || typeof value === 'number' ? String(value) : null);

export const trackingUnitId = (id: string): string => `tracking/${id}`;

/** Without the event's properties: they may say who was called. */
export const trackingUnit = ({ id, name, subject, state, occurredAt, deliveredAt, voice }: TrackingFacts): UnitRows => ({
  table: 'events',
  unitId: trackingUnitId(id),
  dt: dayOf(occurredAt),
  rows: [
    row('events', {
      event_id: trackingUnitId(id),
      kind: 'tracking',
      name,
      call_id: voice?.callId,
      voice_call_id: subject,
      source: 'voice',
      direction: directionOf(voice),
      call_started_at: voice && timestampText(voiceTime(voice)),
      agent: agentOf(voice),
      occurred_at: timestampText(occurredAt),
      state,
      delivered_at: optional(deliveredAt),
    }),
  ],
});

/** A text that was cut in the middle of a character stops no file: the half becomes U+FFFD. */
const wellFormed = (values: WarehouseRow): WarehouseRow => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, typeof value === 'string' ? value.toWellFormed() : value]));

/** A unit's rows as they stand in a file: without any, its tombstone. */
export const fileRows = ({ table, unitId, rows }: UnitRows, { project, loadId, readAt }: { project: string; loadId: number; readAt: Date }): WarehouseRow[] => {
  const always = { project, unit_id: unitId, load_id: loadId, deleted: rows.length === 0, updated_at: timestampText(readAt) };
  if (rows.length > 0) return rows.map((values) => wellFormed({ ...always, ...values }));
  return [Object.fromEntries(fileColumns(table).map(({ name }) => [name, (always as WarehouseRow)[name] ?? null]))];
};

/** One object per line, newline-terminated: what Hive's JSON reader takes. */
export const rowLines = (rows: readonly WarehouseRow[]): string => rows.map((values) => `${JSON.stringify(values)}\n`).join('');
