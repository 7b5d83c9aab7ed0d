import { dayOf, timestampText, type UnitRows } from '../../src/domain/warehouse-rows.ts';
import { fileColumns, type WarehouseRow, type WarehouseTable, type WarehouseValue } from '../../src/domain/warehouse-tables.ts';

/** Rows of the documented tables, as loads leave them: newest ones, ones that they have replaced, repeated ones and tombstones. */

export interface LoadedRow {
  table: WarehouseTable;
  dt: string;
  row: WarehouseRow;
}

const callUnitId = (callId: string): string => `call/${callId}`;
const voiceUnitId = (voiceCallId: string): string => `voice/${voiceCallId}`;

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The same numbers each time. */
const random = (seed: number) => () => {
  seed = (seed * 1_664_525 + 1_013_904_223) % 4_294_967_296;
  return seed / 4_294_967_296;
};

/** Names that SQL, CSV and sorting may stumble over. */
export const AGENTS = ['Mina', "Tim O'Shea", 'Zoë "Z" Ng', '=1+1', 'DROP TABLE calls; --', null] as const;
const QUEUES = ['Sales', 'Support, first line', null] as const;
const TEAMS = ['North', 'South', null] as const;

export interface Fixture {
  rows: LoadedRow[];
  /** The calls that count, to work results out by hand. */
  calls: Record<string, WarehouseValue>[];
  costs: Record<string, WarehouseValue>[];
}

const row = (table: WarehouseTable, values: Record<string, WarehouseValue>): WarehouseRow => Object.fromEntries(fileColumns(table).map(({ name }) => [name, values[name] ?? null]));

/** Rows of a unit in one load. */
const loaded = ({ table, unitId, dt, rows }: UnitRows, project: string, loadId: number): LoadedRow[] => {
  const always = { project, unit_id: unitId, load_id: loadId, deleted: rows.length === 0, updated_at: '2026-11-12 00:00:00.000' };
  return (rows.length > 0 ? rows : [{}]).map((values) => ({ table, dt, row: row(table, { ...values, ...always }) }));
};

/**
 * Calls of three weeks around the night in which clocks change in New York (1 November 2026, 06:00 UTC), with answers,
 * costs and what was noticed.
 */
export const buildFixture = (project = 'default', count = 160): Fixture => {
  const next = random(20_261_101);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(next() * values.length)]!;
  const rows: LoadedRow[] = [];
  const calls: Fixture['calls'] = [];
  const costs: Fixture['costs'] = [];
  const first = Date.parse('2026-10-23T00:00:00.000Z');

  for (let index = 0; index < count; index += 1) {
    // Some to the ms at the edge of a day, and of the hour that clocks show twice.
    const edge = [Date.parse('2026-11-01T04:00:00.000Z'), Date.parse('2026-11-01T03:59:59.999Z'), Date.parse('2026-11-01T05:30:00.000Z'), Date.parse('2026-11-01T06:00:00.000Z'), Date.parse('2026-11-01T05:59:59.999Z'), Date.parse('2026-11-02T05:00:00.000Z'), Date.parse('2026-10-31T16:00:00.000Z')][index];
    const startedAt = edge ?? first + Math.floor(next() * 21 * 24 * HOUR_MS);
    const voice = index % 4 === 3;
    const outcome = voice ? pick(['connected', 'voicemail', 'busy', 'no_answer', 'failed', null]) : pick(['connected', 'connected', 'connected', 'abandoned']);
    const connected = outcome === null ? null : outcome === 'connected';
    const cancelled = voice && outcome === null && index % 8 === 3;
    const graded = connected === true && next() < 0.8;
    const scored = graded ? Math.floor(next() * 101) : null;
    const lead = graded && next() < 0.4 ? `00Q${index}` : null;
    // By what was done; what was noted on only has the ID of a record that was there before.
    const action = lead === null ? (graded ? ['none', 'update_account', 'transfer'][index % 3]! : null) : ['create_lead', 'convert_lead', 'note_duplicate'][index % 3]!;
    const opportunity = action === 'convert_lead' || (action === 'update_account' && index % 2 === 0) ? `006${index}` : null;
    const callId = voice && !connected ? `vc_${index}` : `call-${index}`;
    const unitId = voice && !connected ? voiceUnitId(callId) : callUnitId(callId);
    const dt = dayOf(startedAt);
    const dimensions = { source: voice ? 'retell' : pick(['webex', 'amocrm']), direction: voice ? 'outbound' : 'inbound', call_started_at: timestampText(startedAt), queue: pick(QUEUES), team: pick(TEAMS), agent: pick(AGENTS), category: pick(['sales', 'service', null]) };
    const call = {
      call_id: callId,
      ...dimensions,
      duration_ms: outcome === 'busy' || outcome === null ? null : Math.floor(next() * 900_000),
      connected,
      outcome,
      state: connected ? pick(['completed', 'completed', 'needs_attention']) : null,
      result: graded ? 'processed' : null,
      version: 1,
      has_recording: connected === true,
      has_transcript: graded,
      has_analysis: graded,
      rubric: graded ? 'service-call@1' : null,
      score_percent: scored,
      passed: scored === null ? null : scored >= 70,
      reviewed: graded ? next() < 0.3 : null,
      sentiment: graded ? pick(['positive', 'neutral', 'negative']) : null,
      lead_id: lead,
      opportunity_id: opportunity,
      crm_action: action,
      voice_call_id: voice ? `vc_${index}` : null,
      voice_batch_id: voice && next() < 0.5 ? 'batch-1' : null,
      voice_state: voice ? (cancelled ? 'cancelled' : outcome === null ? 'queued' : 'completed') : null,
      requested_at: voice ? timestampText(startedAt - 5 * MINUTE_MS - Math.floor(next() * HOUR_MS)) : null,
      dialled_at: voice && outcome !== null ? timestampText(startedAt - 30_000) : null,
    };
    calls.push(call);
    const unit = (table: WarehouseTable, of: Record<string, WarehouseValue>[]): UnitRows => ({ table, unitId, dt, rows: of });
    const now = loaded(unit('calls', [call]), project, 1_000 + index);
    // As it was when it was loaded before, once in another day's partition.
    if (index % 3 === 0) rows.push(...loaded(unit('calls', [{ ...call, agent: 'Somebody else', score_percent: 1 }]), project, 100 + index));
    if (index % 7 === 0) {
      const elsewhere = dayOf(startedAt - 24 * HOUR_MS);
      rows.push(...loaded({ ...unit('calls', [{ ...call, call_started_at: timestampText(startedAt - 24 * HOUR_MS) }]), dt: elsewhere }, project, 90 + index), ...loaded({ table: 'calls', unitId, dt: elsewhere, rows: [] }, project, 1_000 + index));
    }
    rows.push(...now);
    // Written by two attempts of one load.
    if (index % 5 === 0) rows.push(...now);
    if (graded) {
      const criteria = ['greeting', 'needs', 'closing'];
      rows.push(...loaded(unit('answers', criteria.map((criterion) => ({ call_id: callId, criterion, ...dimensions, version: 1, rubric: 'service-call@1', verdict: pick(['yes', 'no', 'not_evidenced', 'not_applicable']), corrected: next() < 0.1 }))), project, 1_000 + index));
      // The last time it had one more.
      rows.push(...loaded(unit('answers', [{ call_id: callId, criterion: 'dropped', ...dimensions, verdict: 'no' }]), project, 100 + index));
      const noticed = Array.from({ length: Math.floor(next() * 4) }, (_each, at) => ({ event_id: `${callUnitId(callId)}/${at}`, call_id: callId, ...dimensions, occurred_at: timestampText(startedAt), ...pick([{ kind: 'pattern', name: 'objection_price' }, { kind: 'pattern', name: 'objection_timing' }, { kind: 'pattern', name: 'complaint' }, { kind: 'issue', name: 'the agent did not confirm the address' }, { kind: 'issue', name: '=cmd|calc, and more' }]) }));
      if (noticed.length > 0) rows.push(...loaded(unit('events', noticed), project, 1_000 + index));
    }
    if (connected) {
      for (const [step, kind, provider, model] of [['transcription', 'stt', 'deepgram', 'nova-3'], ['analysis', 'llm', 'openai', 'gpt-5']] as const) {
        const reservedAt = startedAt + Math.floor(next() * 30 * HOUR_MS);
        const cost = { cost_key: `${step}-${index}`, call_id: callId, version: 1, step, kind, provider, model, state: next() < 0.9 ? 'settled' : 'reserved', micro_usd: Math.floor(next() * 50_000), day: dayOf(reservedAt), reserved_at: timestampText(reservedAt), settled_at: timestampText(reservedAt + 1_000) };
        costs.push({ ...cost, ...dimensions });
        rows.push(...loaded({ table: 'costs', unitId: `cost/${cost.cost_key}`, dt: cost.day, rows: [cost] }, project, 1_000 + index));
      }
    }
  }
  return { rows, calls, costs };
};
