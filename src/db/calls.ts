import { type Selectable, sql } from 'kysely';
import type { Analysis } from '../domain/analysis.ts';
import {
  type Attention,
  CALL_STATES,
  type CallDetails,
  type CallKey,
  type CallResult,
  type CallState,
  type CallVersion,
  hasEnded,
} from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import type { Gate } from '../domain/messages.ts';
import type { CrmResult } from '../domain/crm-rules.ts';
import type { PresetRef } from '../domain/preset.ts';
import { type EffectiveAnalysis, effectiveAnalysis, type ReviewEntry } from '../domain/review.ts';
import { type Step, stepsFrom } from '../domain/steps.ts';
import { type CallFilter, findCalls, type ListPosition } from './call-list.ts';
import { type Database, json, storable } from './database.ts';
import { carryReviews, dropReviews, entriesOf, settleScore } from './reviews.ts';
import type { CallsTable, CallVersionsTable, StoredDelivery, StoredMetadata, StoredRecording, StoredTranscript } from './schema.ts';

/** A call with its newest version, as people see it. */
export interface CallRow extends CallKey {
  source: string;
  details: CallDetails;
  state: CallState;
  step: Step | null;
  attention: Attention | null;
  result: CallResult | null;
  reason: string | null;
  version: number;
  /** Of the newest version, as its reviews leave it. */
  scorePercent: number | null;
  passed: boolean | null;
  startedAt: Date;
  firstSeenAt: Date;
  updatedAt: Date;
  endedAt: Date | null;
}

/** What the steps of one version have produced so far. */
export interface VersionResults {
  recording: StoredRecording | null;
  transcript: StoredTranscript | null;
  metadata: StoredMetadata | null;
  /** As the model made it. What is shown and pushed is a version's `effective`. */
  analysis: Analysis | null;
  crm: CrmResult | null;
  delivery: StoredDelivery | null;
}

export interface VersionRow extends VersionResults {
  version: number;
  /** Null before any step has asked. */
  preset: PresetRef | null;
  /** What people have said of the analysis, oldest first. */
  reviews: ReviewEntry[];
  /** The analysis as that leaves it: to be used wherever a score is shown, stored or pushed. */
  effective: EffectiveAnalysis | null;
  runId: string | null;
  startedFrom: Step;
  state: CallState;
  result: CallResult | null;
  reason: string | null;
  startedAt: Date;
  endedAt: Date | null;
}

/** What a call is written down as when it comes in: to be processed, to wait for a person, or left out by a rule. */
export type StagedState = Extract<CallState, 'staged' | 'awaiting_approval' | 'rejected'>;

/** The column of `call_versions` that holds each step's result. */
const RESULT_COLUMN = {
  recording: 'recording',
  transcription: 'transcript',
  metadata: 'metadata',
  analysis: 'analysis',
  crm: 'crm',
  deliver: 'delivery',
} as const satisfies Record<Step, string>;

export interface StepResults {
  recording: StoredRecording;
  transcription: StoredTranscript;
  metadata: StoredMetadata;
  analysis: Analysis;
  crm: CrmResult;
  deliver: StoredDelivery;
}

export const createCalls = (db: Database) => ({
  /**
   * Writes down the calls of a page that are not known yet and tells how all of them stand.
   *
   * @returns one entry per call that the database holds, in no particular order
   */
  async stage(project: string, calls: CallDetails[], stateOf: StagedState | ((call: CallDetails) => StagedState)): Promise<Map<string, { state: CallState; version: number }>> {
    if (calls.length === 0) return new Map();
    const rows = calls.map((call) => ({
      call_id: call.callId,
      source: call.source,
      details: call,
      started_at: new Date(call.startedAtMs).toISOString(),
      state: typeof stateOf === 'function' ? stateOf(call) : stateOf,
    }));
    const staged = await sql<{ call_id: string; state: CallState; version: number }>`
      insert into calls (project, call_id, source, details, started_at, state)
      select ${project}, call_id, source, details, started_at, state
      from jsonb_to_recordset(${json(rows)}::jsonb) as page (call_id text, source text, details jsonb, started_at timestamptz, state text)
      -- What was erased stays erased, however often its source tells of it.
      where not exists (select from erased_calls gone where gone.project = ${project} and gone.call_hash = encode(sha256(convert_to(${project} || '/' || page.call_id, 'UTF8')), 'hex'))
      -- Writing the details again makes the row come back, and a call that has changed since, current.
      -- Who told of it first goes on telling: another source of the same call knows other things, and gives no recording.
      on conflict (project, call_id) do update set
        details = case when calls.source = excluded.source then excluded.details else calls.details end,
        started_at = case when calls.source = excluded.source then excluded.started_at else calls.started_at end
      returning call_id, state, version`.execute(db);
    return new Map(staged.rows.map((row) => [row.call_id, { state: row.state, version: row.version }]));
  },

  /**
   * Opens the next version of a call. Repeating it for a version that is open already changes nothing.
   *
   * Results of steps before `from` are taken over from the version before.
   * @returns the run that the version belongs to: `runId`, unless somebody opened it before
   */
  async openVersion(
    { project, callId, version }: CallVersion,
    { runId, from, state, reason, preset }: { runId?: string | undefined; from: Step; state: CallState; /** Of a version that ends as it is opened. */ reason?: string; /** Instead of the one that the call's category is bound to. */ preset?: PresetRef | undefined },
  ): Promise<string | null> {
    const ending = { reason: reason === undefined ? null : storable(reason), ended_at: hasEnded(state) ? sql<Date>`now()` : null };
    return db.transaction().execute(async (tx) => {
      const opened = await tx
        .insertInto('call_versions')
        .values({ project, call_id: callId, version, run_id: runId ?? null, started_from: from, state, ...(preset ? { preset_id: preset.preset, preset_version: preset.version } : {}), ...ending })
        .onConflict((conflict) => conflict.doNothing())
        .returning('version')
        .executeTakeFirst();
      if (!opened) {
        const open = await tx
          .selectFrom('call_versions')
          .select('run_id')
          .where('project', '=', project)
          .where('call_id', '=', callId)
          .where('version', '=', version)
          .executeTakeFirstOrThrow();
        return open.run_id;
      }
      if (version > 1 && from !== 'recording') {
        const kept = Object.keys(RESULT_COLUMN).filter((step) => !stepsFrom(from).includes(step as Step)) as Step[];
        const columns = kept.map((step) => sql.ref(RESULT_COLUMN[step]));
        const previous = kept.map((step) => sql.ref(`previous.${RESULT_COLUMN[step]}`));
        await sql`update call_versions set (${sql.join(columns)}) =
            (select ${sql.join(previous)} from call_versions previous
             where previous.project = ${project} and previous.call_id = ${callId} and previous.version = ${version - 1})
          where project = ${project} and call_id = ${callId} and version = ${version}`.execute(tx);
        await carryReviews(tx, { project, callId, version }, from);
      }
      await tx
        .updateTable('calls')
        .set({ version, state, step: null, attention: null, result: null, ...ending, updated_at: sql`now()` })
        .where('project', '=', project)
        .where('call_id', '=', callId)
        .execute();
      await settleScore(tx, { project, callId, version });
      return runId ?? null;
    });
  },

  /** The preset that a version goes by, or undefined before any step has asked. */
  async presetOf({ project, callId, version }: CallVersion): Promise<PresetRef | undefined> {
    const row = await db.selectFrom('call_versions').select(['preset_id', 'preset_version']).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).executeTakeFirst();
    if (!row) throw noSuchCall({ project, callId });
    return row.preset_id === null ? undefined : { preset: row.preset_id, version: row.preset_version! };
  },

  /** Picks a version's preset, if none was picked before. @returns the one that it goes by */
  async keepPreset(call: CallVersion, { preset, version }: PresetRef): Promise<PresetRef> {
    await db
      .updateTable('call_versions')
      .set({ preset_id: preset, preset_version: version })
      .where('project', '=', call.project)
      .where('call_id', '=', call.callId)
      .where('version', '=', call.version)
      .where('preset_id', 'is', null)
      .execute();
    // Two steps may have asked at once; one of them was first.
    return (await this.presetOf(call)) ?? { preset, version };
  },

  /** The run that a version belongs to; null when a person started it, undefined when there is no such version. */
  async runOf({ project, callId, version }: CallVersion): Promise<string | null | undefined> {
    const row = await db.selectFrom('call_versions').select('run_id').where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).executeTakeFirst();
    return row?.run_id;
  },

  /** Counts a version under another run than the one that opened it. */
  async adoptVersion({ project, callId, version }: CallVersion, runId: string): Promise<void> {
    await db
      .updateTable('call_versions')
      .set({ run_id: runId })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('version', '=', version)
      .execute();
  },

  /** Projects that have calls waiting for a reason. */
  async projectsParkedFor(code: string): Promise<string[]> {
    const rows = await db.selectFrom('calls').select('project').distinct().where('attention', 'is not', null).where(sql<boolean>`attention ->> 'code' = ${code}`).execute();
    return rows.map(({ project }) => project);
  },

  /** Calls that wait for a reason, the longest first. */
  async listParkedFor(project: string, code: string, limit: number): Promise<CallRow[]> {
    const rows = await db
      .selectFrom('calls')
      .selectAll()
      .where('project', '=', project)
      .where('state', '=', 'needs_attention')
      .where(sql<boolean>`attention ->> 'code' = ${code}`)
      .where('attention', 'is not', null)
      .orderBy('updated_at')
      .limit(limit)
      .execute();
    return rows.map(toCall);
  },

  /** Calls that have waited to be let in since before a time, the longest first. */
  async listStagedBefore(project: string, before: Date, limit: number): Promise<CallRow[]> {
    const rows = await db
      .selectFrom('calls')
      .selectAll()
      .where('project', '=', project)
      .where('state', '=', 'awaiting_approval')
      .where('step', 'is', null)
      .where('updated_at', '<', before)
      .orderBy('updated_at')
      .limit(limit)
      .execute();
    return rows.map(toCall);
  },

  /** Calls of a run that are neither ended nor waiting for a person, longest untouched first. */
  async listUnsettledOf(project: string, runId: string, limit: number): Promise<CallRow[]> {
    const rows = await db
      .selectFrom('calls')
      .innerJoin('call_versions', (join) =>
        join.onRef('call_versions.project', '=', 'calls.project').onRef('call_versions.call_id', '=', 'calls.call_id').onRef('call_versions.version', '=', 'calls.version'),
      )
      .selectAll('calls')
      .where('calls.project', '=', project)
      .where('call_versions.run_id', '=', runId)
      .where('calls.state', 'in', ['staged', 'processing', 'waiting_for_recording'])
      .orderBy('calls.updated_at')
      .limit(limit)
      .execute();
    return rows.map(toCall);
  },

  async find({ project, callId }: CallKey): Promise<CallRow | undefined> {
    const row = await db.selectFrom('calls').selectAll().where('project', '=', project).where('call_id', '=', callId).executeTakeFirst();
    return row && toCall(row);
  },

  async get(key: CallKey): Promise<CallRow> {
    const call = await this.find(key);
    if (!call) throw noSuchCall(key);
    return call;
  },

  /** The call's version with the results so far. */
  async getVersion({ project, callId, version }: CallVersion): Promise<VersionRow> {
    const row = await db
      .selectFrom('call_versions')
      .selectAll()
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('version', '=', version)
      .executeTakeFirst();
    if (!row) throw noSuchCall({ project, callId });
    return toVersion(row, row.analysis ? await entriesOf(db, { project, callId }) : new Map());
  },

  async listVersions({ project, callId }: CallKey): Promise<VersionRow[]> {
    const rows = await db
      .selectFrom('call_versions')
      .selectAll()
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .orderBy('version', 'desc')
      .execute();
    const entries = await entriesOf(db, { project, callId });
    return rows.map((row) => toVersion(row, entries));
  },

  /** Newest first; `after` is the last row of the page before. */
  async list(filter: CallFilter, position: { limit: number; after?: ListPosition | undefined }): Promise<CallRow[]> {
    const callIds = await findCalls(db, filter, position);
    if (callIds.length === 0) return [];
    const rows = await db
      .selectFrom('calls')
      .selectAll()
      .where('project', '=', filter.project)
      .where('call_id', 'in', callIds)
      .orderBy('started_at', 'desc')
      .orderBy('call_id', 'desc')
      .execute();
    return rows.map(toCall);
  },

  /** Which of these calls wait for a person there. */
  async listWaiting(project: string, callIds: readonly string[], at: Gate): Promise<string[]> {
    if (callIds.length === 0) return [];
    const rows = await db
      .selectFrom('calls')
      .select('call_id')
      .where('project', '=', project)
      .where('call_id', 'in', callIds)
      .where('state', '=', 'awaiting_approval')
      .where('step', at === 'staging' ? 'is' : '=', at === 'staging' ? null : at)
      .execute();
    return rows.map((row) => row.call_id);
  },

  /** How many calls of a project are in each state. */
  async countByState(project: string): Promise<Partial<Record<CallState, number>>> {
    const rows = await db
      .selectFrom('call_counts')
      .select(['state', (kept) => kept.fn.sum<number>('calls').as('calls')])
      .where('project', '=', project)
      .groupBy('state')
      .having(sql<boolean>`sum(calls) <> 0`)
      .execute();
    return Object.fromEntries(rows.map((row) => [row.state, Number(row.calls)]));
  },

  /** The same for every project that has calls. */
  async countByProject(): Promise<{ project: string; state: CallState; calls: number }[]> {
    const rows = await db
      .selectFrom('call_counts')
      .select(['project', 'state', (kept) => kept.fn.sum<number>('calls').as('calls')])
      .groupBy(['project', 'state'])
      .execute();
    return rows.map((row) => ({ ...row, calls: Number(row.calls) }));
  },

  /** Says which step of a version runs now. A version that is not the newest, or has ended, is left alone. */
  async beginStep({ project, callId, version }: CallVersion, step: Step): Promise<void> {
    await setState(db, { project, callId, version }, { state: 'processing', step });
  },

  /** Keeps what a step produced. */
  async keepResult<S extends Step>({ project, callId, version }: CallVersion, step: S, result: StepResults[S]): Promise<void> {
    await db
      .updateTable('call_versions')
      .set({ [RESULT_COLUMN[step]]: json(result) })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('version', '=', version)
      .execute();
    if (step === 'analysis') await settleScore(db, { project, callId, version });
  },

  /** Drops the results of `from`, of its group and of all later steps. */
  async dropResults({ project, callId, version }: CallVersion, steps: Step[]): Promise<void> {
    if (steps.length === 0) return;
    await db.transaction().execute(async (tx) => {
      // The reviews know the names of the speakers: dropped in two steps, a crash between them would lose those.
      if (steps.includes('analysis')) await dropReviews(tx, { project, callId, version });
      await tx
        .updateTable('call_versions')
        .set(Object.fromEntries(steps.map((step) => [RESULT_COLUMN[step], null])))
        .where('project', '=', project)
        .where('call_id', '=', callId)
        .where('version', '=', version)
        .execute();
      if (steps.includes('analysis')) await settleScore(tx, { project, callId, version });
    });
  },

  /** Records where a call stands, for every state that is not the running of a step. */
  async setState(version: CallVersion, change: StateChange): Promise<void> {
    await setState(db, version, change);
  },
});

export type Calls = ReturnType<typeof createCalls>;

export interface StateChange {
  state: CallState;
  step?: Step | null;
  attention?: Attention;
  result?: CallResult | undefined;
  reason?: string | undefined;
}

const setState = async (db: Database, { project, callId, version }: CallVersion, change: StateChange): Promise<void> => {
  const ended = hasEnded(change.state) ? sql<Date>`now()` : null;
  const reason = change.reason === undefined ? null : storable(change.reason);
  // A step that is still under way when its call is cancelled must not make it look alive again.
  const from = isProgress(change.state) ? CALL_STATES.filter((state) => !hasEnded(state)) : CALL_STATES;
  await db.transaction().execute(async (tx) => {
    await tx
      .updateTable('call_versions')
      .set({ state: change.state, result: change.result ?? null, reason, ended_at: ended })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('version', '=', version)
      .where('state', 'in', from)
      .execute();
    await tx
      .updateTable('calls')
      .set({
        state: change.state,
        step: change.step ?? null,
        attention: change.attention ? json(change.attention) : null,
        result: change.result ?? null,
        reason,
        ended_at: ended,
        updated_at: sql`now()`,
      })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      // A zombie of an older version must not speak for the call.
      .where('version', '=', version)
      .where('state', 'in', from)
      .execute();
    // A run that ends without an analysis leaves the call without one: what an older run was graded does not stand for it.
    if (change.state === 'completed') {
      await sql`delete from call_analysis graded using call_versions newest
        where graded.project = ${project} and graded.call_id = ${callId} and graded.version <= ${version}
          and newest.project = ${project} and newest.call_id = ${callId} and newest.version = ${version} and newest.analysis is null and newest.state = 'completed'`.execute(tx);
    }
  });
};

const isProgress = (state: CallState): boolean => state === 'processing' || state === 'waiting_for_recording';

const noSuchCall = ({ project, callId }: CallKey): AftercallError =>
  new AftercallError('NOT_FOUND', `There is no call ${callId} in project ${project}.`, {
    advice: 'Check the ID; a call appears here once a window has found it.',
  });

const toCall = (row: Selectable<CallsTable>): CallRow => ({
  project: row.project,
  callId: row.call_id,
  source: row.source,
  details: row.details,
  state: row.state,
  step: row.step,
  attention: row.attention,
  result: row.result,
  reason: row.reason,
  version: row.version,
  scorePercent: row.score_percent,
  passed: row.passed,
  startedAt: row.started_at,
  firstSeenAt: row.first_seen_at,
  updatedAt: row.updated_at,
  endedAt: row.ended_at,
});

const toVersion = (row: Selectable<CallVersionsTable>, entries: ReadonlyMap<number, ReviewEntry[]>): VersionRow => ({
  version: row.version,
  preset: row.preset_id === null ? null : { preset: row.preset_id, version: row.preset_version! },
  runId: row.run_id,
  startedFrom: row.started_from,
  recording: row.recording,
  transcript: row.transcript,
  metadata: row.metadata,
  analysis: row.analysis,
  reviews: entries.get(row.version) ?? [],
  effective: row.analysis && effectiveAnalysis(row.analysis, { entries: entries.get(row.version) ?? [], advisory: row.advisory ?? [] }),
  crm: row.crm,
  delivery: row.delivery,
  state: row.state,
  result: row.result,
  reason: row.reason,
  startedAt: row.started_at,
  endedAt: row.ended_at,
});
