import { createHash } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import { categoryOf } from '../domain/category.ts';
import type { ProjectSettings } from '../domain/settings.ts';
import { effectiveAnalysis, type ReviewEntry } from '../domain/review.ts';
import { teamOf } from '../domain/team.ts';
import type { UnitKind } from '../domain/warehouse.ts';
import { type CallFacts, callUnits, type CostFacts, costUnit, costUnitId, effectUnit, effectUnitId, trackingUnit, trackingUnitId, type UnitRows, type VoiceFacts, voiceUnit, voiceUnitId } from '../domain/warehouse-rows.ts';
import type { WarehouseTable } from '../domain/warehouse-tables.ts';
import { callHash } from './erasures.ts';
import { entriesOfCalls } from './reviews.ts';
import type { Schema } from './schema.ts';

type Reader = Kysely<Schema>;

/** Something that changed, and on which days' partitions it lay or lies as far as that is known. */
export interface ChangedUnit {
  kind: UnitKind;
  unit: string;
  /** `YYYY-MM-DD`. */
  days: string[];
}

/** The plain key names what was asked of whom. */
const costKeyOf = (key: string): string => createHash('sha256').update(key).digest('hex');

const callUnitId = (project: string, callId: string): string => `call/${callHash({ project, callId })}`;

/** Which rows of which tables a unit has, and under which name. */
const PLACES: Record<UnitKind, { tables: readonly WarehouseTable[]; unitId: (unit: string, project: string) => string }> = {
  call: { tables: ['calls', 'answers', 'events'], unitId: (callId, project) => callUnitId(project, callId) },
  voice: { tables: ['calls'], unitId: voiceUnitId },
  cost: { tables: ['costs'], unitId: (unit) => costUnitId(costKeyOf(unit)) },
  effect: { tables: ['effects'], unitId: effectUnitId },
  tracking: { tables: ['events'], unitId: trackingUnitId },
};

type Rules = Pick<ProjectSettings, 'categories' | 'teams'>;

/**
 * Reads changed units as they are now.
 *
 * Of one that is no more, or whose day has changed, there is also a unit without rows for each day on which it was.
 */
export const readUnits = async (db: Reader, project: string, changed: readonly ChangedUnit[], rules: Rules): Promise<UnitRows[]> => {
  const unitsOf = (kind: UnitKind): string[] => changed.filter((change) => change.kind === kind).map(({ unit }) => unit);
  const found: UnitRows[] = [
    ...(await readCalls(db, project, unitsOf('call'), rules)).flatMap(callUnits),
    ...(await readVoice(db, project, 'id', unitsOf('voice'))).map(voiceUnit),
    ...(await readCosts(db, project, unitsOf('cost'))).map(costUnit),
    ...(await readEffects(db, project, unitsOf('effect'))),
    // What was told of a voice call says of it when it was and which call it became, which may be known only later.
    ...(await readTracking(db, project, { ids: unitsOf('tracking'), subjects: unitsOf('voice') })),
  ];
  const there = new Set(found.map(({ table, unitId, dt }) => JSON.stringify([table, unitId, dt])));
  for (const { kind, unit, days } of changed) {
    const { tables, unitId } = PLACES[kind];
    for (const table of tables) {
      for (const dt of days) {
        const gone = { table, unitId: unitId(unit, project), dt, rows: [] };
        if (!there.has(JSON.stringify([table, gone.unitId, dt]))) found.push(gone);
      }
    }
  }
  return found;
};

const list = (ids: readonly string[]) => sql`any(${sql.val([...ids])}::text[])`;

const readCalls = async (db: Reader, project: string, callIds: readonly string[], { categories, teams }: Rules): Promise<CallFacts[]> => {
  if (callIds.length === 0) return [];
  const calls = await db.selectFrom('calls').select(['call_id', 'source', 'details', 'state', 'result', 'version', 'ended_at']).where('project', '=', project).where(sql<boolean>`call_id = ${list(callIds)}`).execute();
  const versions = await db
    .selectFrom('call_versions as v')
    .leftJoin('call_analysis as a', (join) => join.onRef('a.project', '=', 'v.project').onRef('a.call_id', '=', 'v.call_id').onRef('a.version', '=', 'v.version'))
    .select(['v.call_id', 'v.version', 'v.recording', 'v.transcript', 'v.crm'])
    // The one that scores are shown of; the others' are large and of no use here.
    .select((eb) => [eb.case().when('a.version', 'is not', null).then(eb.ref('v.analysis')).else(null).end().as('analysis'), 'v.advisory'])
    .where('v.project', '=', project)
    .where(sql<boolean>`v.call_id = ${list(callIds)}`)
    .orderBy('v.version', 'desc')
    .execute();
  const entries = await entriesOfCalls(db, project, callIds);
  const { rows: costs } = await sql<{ call_id: string; micro_usd: number }>`
    select call_id, sum(case when state = 'settled' then micro_usd else reserved_micro_usd end)::bigint as micro_usd from costs where project = ${project} and call_id = ${list(callIds)} group by 1`.execute(db);
  const voices = new Map((await readVoice(db, project, 'call_id', callIds)).map((voice) => [voice.callId, voice]));
  const versionsOf = Map.groupBy(versions, ({ call_id }) => call_id);
  const costOf = new Map(costs.map(({ call_id, micro_usd }) => [call_id, Number(micro_usd)]));

  return calls.map(({ call_id: callId, details, ...call }): CallFacts => {
    const own = versionsOf.get(callId) ?? [];
    const graded = own.find(({ analysis }) => analysis !== null);
    const voice = voices.get(callId);
    const transcript = own.find((version) => version.transcript)?.transcript;
    const recording = own.find((version) => version.recording)?.recording;
    return {
      callId,
      unitId: callUnitId(project, callId),
      source: call.source,
      details,
      category: categoryOf(categories, details),
      team: teamOf(teams, details.agentName ?? voice?.observed?.agentId),
      state: call.state,
      result: call.result,
      version: call.version,
      endedAt: call.ended_at,
      // What was heard is measured; what the source says of its recording is not always there.
      durationMs: transcript?.durationMs ?? recording?.durationMs ?? details.durationMs,
      hasRecording: recording !== undefined,
      hasTranscript: transcript !== undefined,
      language: transcript?.language,
      graded: graded?.analysis ? { version: graded.version, analysis: effectiveAnalysis(graded.analysis, { entries: entries.get(callId)?.get(graded.version) ?? ([] as ReviewEntry[]), advisory: graded.advisory ?? [] }) } : undefined,
      crm: own.find(({ crm }) => crm !== null)?.crm ?? undefined,
      voice,
      costMicroUsd: costOf.get(callId) ?? 0,
    };
  });
};

const readVoice = async (db: Reader, project: string, by: 'id' | 'call_id', ids: readonly string[]): Promise<VoiceFacts[]> => {
  if (ids.length === 0) return [];
  const rows = await db
    .selectFrom('voice_calls')
    .select(['id', 'batch_id', 'state', 'outcome', 'request', 'observed', 'requested_at', 'dialled_at', 'started_at', 'call_id'])
    .where('project', '=', project)
    .where(sql<boolean>`${sql.ref(by)} = ${list(ids)}`)
    .execute();
  return rows.map((row) => ({ voiceCallId: row.id, batchId: row.batch_id, state: row.state, outcome: row.outcome, request: row.request, observed: row.observed, requestedAt: row.requested_at, dialledAt: row.dialled_at, startedAt: row.started_at, callId: row.call_id }));
};

const readCosts = async (db: Reader, project: string, keys: readonly string[]): Promise<CostFacts[]> => {
  if (keys.length === 0) return [];
  const rows = await db
    .selectFrom('costs')
    .select(['key', 'version', 'step', 'kind', 'provider', 'model', 'state', 'usage', 'micro_usd', 'reserved_micro_usd', 'reserved_at', 'settled_at'])
    // A voice call that became no call is in the table of calls under its own ID.
    .select(sql<string>`coalesce(call_id, voice_call_id)`.as('call_id'))
    // As text: a date without a time is no moment, and the driver makes it one of this process's time zone.
    .select(sql<string>`day::text`.as('day'))
    .where('project', '=', project)
    .where(sql<boolean>`key = ${list(keys)}`)
    .execute();
  return rows.map((row) => ({ costKey: costKeyOf(row.key), callId: row.call_id, version: row.version, step: row.step, kind: row.kind, provider: row.provider, model: row.model, state: row.state, usage: row.usage, microUsd: Number(row.micro_usd), reservedMicroUsd: Number(row.reserved_micro_usd), day: row.day, reservedAt: row.reserved_at, settledAt: row.settled_at }));
};

const readEffects = async (db: Reader, project: string, keys: readonly string[]): Promise<UnitRows[]> => {
  if (keys.length === 0) return [];
  const rows = await db.selectFrom('effects').selectAll().where('project', '=', project).where(sql<boolean>`key = ${list(keys)}`).execute();
  return rows.map((row) => effectUnit({ effectKey: row.key, callId: row.call_id, version: row.version, effect: row.effect, target: row.target, class: row.class, state: row.state, receipt: row.receipt, plannedAt: row.planned_at, doneAt: row.done_at }));
};

/** Events by their own IDs, and all of voice calls. */
const readTracking = async (db: Reader, project: string, { ids, subjects }: { ids: readonly string[]; subjects: readonly string[] }): Promise<UnitRows[]> => {
  if (ids.length === 0 && subjects.length === 0) return [];
  const rows = await db.selectFrom('tracking_events').select(['id', 'name', 'subject', 'state', 'occurred_at', 'delivered_at']).where('project', '=', project).where(sql<boolean>`(id = ${list(ids)} or subject = ${list(subjects)})`).execute();
  const voices = new Map((await readVoice(db, project, 'id', rows.map(({ subject }) => subject))).map((voice) => [voice.voiceCallId, voice]));
  return rows.map((row) => trackingUnit({ id: row.id, name: row.name, subject: row.subject, state: row.state, occurredAt: row.occurred_at, deliveredAt: row.delivered_at, voice: voices.get(row.subject) }));
};
