import { type Selectable, sql, type Transaction } from 'kysely';
import type { Analysis } from '../domain/analysis.ts';
import type { CallKey, CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import { type AdvisoryQuestion, asPersonWould, doubtsOf, type EffectiveAnalysis, effectiveAnalysis, type PersonVerdict, type ReviewAct, type ReviewEntry, rubricOf, standingOf } from '../domain/review.ts';
import { groupOf, type Step } from '../domain/steps.ts';
import { type Database, json } from './database.ts';
import { requestPublication } from './review-publications.ts';
import type { ReviewsTable, Schema } from './schema.ts';

type Tx = Database | Transaction<Schema>;

/** What a review is made from, and whose. */
export interface Review {
  call: CallVersion;
  /** How many entries the person had read; somebody else's since then are not written over. */
  expectedRevision: number;
  by: { name: string; kind: 'user' | 'token' };
  /** Decides what to add. @throws when it does not fit what stands */
  act: (analysis: Analysis, entries: ReviewEntry[]) => ReviewAct;
}

export interface QueuePosition {
  doubts: number;
  lot: number;
  callId: string;
}

export interface QueuedCall extends QueuePosition {
  version: number;
  startedAt: Date;
  scorePercent: number | null;
}

export const createReviews = (db: Database) => ({
  /** Entries of a version, oldest first. */
  entries: (call: CallVersion): Promise<ReviewEntry[]> => entriesOf(db, call).then((all) => all.get(call.version) ?? []),

  /**
   * Adds an entry, scores the call anew and asks for its publication: all of it, or nothing.
   *
   * @throws CONFLICT when the call runs, has a newer version, or somebody else has added an entry meanwhile
   */
  async append({ call, expectedRevision, by, act: decide }: Review): Promise<{ revision: number; effective: EffectiveAnalysis }> {
    return db.transaction().execute(async (tx) => {
      const current = await tx.selectFrom('calls').select(['state', 'version']).where('project', '=', call.project).where('call_id', '=', call.callId).forUpdate().executeTakeFirst();
      if (!current) throw new AftercallError('NOT_FOUND', `There is no call ${call.callId} in project ${call.project}.`, { advice: 'Check the ID.' });
      if (current.version !== call.version) throw overtaken(`This is a review of version ${call.version}; the call has been run again, and its newest version is ${current.version}.`);
      if (current.state !== 'completed') throw overtaken(`This call is ${current.state.replaceAll('_', ' ')}; a call can be reviewed once it is completed.`);
      const { analysis, advisory } = await analysisOf(tx, call);
      if (!analysis) throw new AftercallError('CONFLICT', `Call ${call.callId} has no analysis to review.`, { advice: 'Reprocess it from the analysis, if it should have one.', outcome: 'refused' });
      const entries = (await entriesOf(tx, call)).get(call.version) ?? [];
      const newest = entries.at(-1)?.revision ?? 0;
      if (newest !== expectedRevision) throw overtaken(`This review was made on revision ${expectedRevision}; revision ${newest} is the newest${newest > 0 ? `, by ${entries.at(-1)!.by}` : ''}.`);

      const act = decide(analysis, entries);
      const revision = newest + 1;
      const verdicts = verdictsOf(act);
      const row = await tx
        .insertInto('reviews')
        .values({
          project: call.project,
          call_id: call.callId,
          version: call.version,
          revision,
          analysis_version: await analysisVersionOf(tx, call),
          kind: act.kind,
          act: json(act),
          undoes: act.kind === 'undo' ? act.undoes : null,
          ...(verdicts ? { verdicts: json(verdicts), claimed: json(Object.fromEntries(analysis.answers.filter(({ criterion }) => criterion in verdicts).map(({ criterion, verdict }) => [criterion, asPersonWould(verdict)]))) } : {}),
          stamps: json({ ...analysis.versions, optional: rubricOf(analysis).criteria.filter(({ notApplicableWhen }) => notApplicableWhen !== undefined).map(({ id }) => id) }),
          by_name: by.name,
          by_kind: by.kind,
        })
        .returningAll()
        .executeTakeFirstOrThrow();
      const effective = effectiveAnalysis(analysis, { entries: [...entries, toEntry(row)], advisory: advisory ?? [] });
      await keepScore(tx, call, effective);
      await requestPublication(tx, call);
      return { revision, effective };
    });
  },

  /** Says which questions count for nothing in a version's score from now on. */
  async setAside(call: CallVersion, advisory: AdvisoryQuestion[]): Promise<void> {
    await db.transaction().execute(async (tx) => {
      await tx.selectFrom('calls').select('version').where('project', '=', call.project).where('call_id', '=', call.callId).forUpdate().execute();
      await tx
        .updateTable('call_versions')
        .set({ advisory: advisory.length > 0 ? JSON.stringify(advisory) : null })
        .where('project', '=', call.project)
        .where('call_id', '=', call.callId)
        .where('version', '=', call.version)
        .execute();
      await settleScore(tx, call);
    });
  },

  /** Calls that nobody has reviewed: those with most doubts first, or as chance has it. */
  async queue(project: string, order: 'doubtful' | 'random', { limit, after }: { limit: number; after?: QueuePosition | undefined }): Promise<QueuedCall[]> {
    let query = db.selectFrom('calls').select(['call_id', 'version', 'started_at', 'score_percent', 'doubts', 'lot']).where('project', '=', project).where('doubts', 'is not', null).where('state', '=', 'completed');
    if (order === 'doubtful') {
      if (after) query = query.where('doubts', '<=', after.doubts).where(sql<boolean>`(doubts < ${after.doubts} or (lot, call_id) > (${after.lot}::int, ${after.callId}))`);
      query = query.orderBy('doubts', 'desc').orderBy('lot').orderBy('call_id');
    } else {
      if (after) query = query.where(sql<boolean>`(lot, call_id) > (${after.lot}::int, ${after.callId})`);
      query = query.orderBy('lot').orderBy('call_id');
    }
    return (await query.limit(limit).execute()).map((row) => ({ callId: row.call_id, version: row.version, startedAt: row.started_at, scorePercent: row.score_percent, doubts: row.doubts!, lot: row.lot! }));
  },
});

export type Reviews = ReturnType<typeof createReviews>;

const overtaken = (message: string): AftercallError => new AftercallError('CONFLICT', message, { advice: 'Read the review again and decide on what stands now.', outcome: 'refused' });

/** What an entry says of questions. */
const verdictsOf = (act: ReviewAct): Record<string, PersonVerdict> | undefined => {
  if (act.kind === 'correct') return { [act.criterion]: act.verdict };
  return act.kind === 'confirm' ? act.verdicts : undefined;
};

/** Entries of a call by version, oldest first. */
export const entriesOf = async (tx: Tx, { project, callId }: CallKey): Promise<Map<number, ReviewEntry[]>> => {
  const rows = await tx.selectFrom('reviews').selectAll().where('project', '=', project).where('call_id', '=', callId).orderBy('version').orderBy('revision').execute();
  return new Map([...Map.groupBy(rows, ({ version }) => version)].map(([version, entries]) => [version, entries.map(toEntry)]));
};

/** The same of several calls, by call. */
export const entriesOfCalls = async (tx: Tx, project: string, callIds: readonly string[]): Promise<Map<string, Map<number, ReviewEntry[]>>> => {
  const rows = await tx.selectFrom('reviews').selectAll().where('project', '=', project).where(sql<boolean>`call_id = any(${sql.val([...callIds])}::text[])`).orderBy('version').orderBy('revision').execute();
  const byCall = Map.groupBy(rows, ({ call_id }) => call_id);
  return new Map([...byCall].map(([callId, own]) => [callId, new Map([...Map.groupBy(own, ({ version }) => version)].map(([version, entries]) => [version, entries.map(toEntry)]))]));
};

const toEntry = (row: Selectable<ReviewsTable>): ReviewEntry => ({ ...row.act, revision: row.revision, by: row.by_name, at: row.at.toISOString() });

const analysisOf = async (tx: Tx, { project, callId, version }: CallVersion): Promise<{ analysis: Analysis | null; advisory: AdvisoryQuestion[] | null }> =>
  tx.selectFrom('call_versions').select(['analysis', 'advisory']).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).executeTakeFirstOrThrow();

/** The version in whose run a version's analysis was made: versions after it have taken it over as it is. */
const analysisVersionOf = async (tx: Tx, { project, callId, version }: CallVersion): Promise<number> => {
  const { rows } = await sql<{ made: number }>`
    select coalesce(max(earlier.version), 0) + 1 as made from call_versions earlier, call_versions this
    where this.project = ${project} and this.call_id = ${callId} and this.version = ${version}
      and earlier.project = ${project} and earlier.call_id = ${callId} and earlier.version < ${version} and earlier.analysis is distinct from this.analysis`.execute(tx);
  return rows[0]!.made;
};

const keepScore = async (tx: Tx, { project, callId, version }: CallVersion, effective: EffectiveAnalysis | null): Promise<void> => {
  const isUnreviewed = effective && !effective.review;
  await tx
    .updateTable('calls')
    .set({
      score_percent: effective?.grading.total_score_percent ?? null,
      passed: effective?.grading.pass ?? null,
      doubts: isUnreviewed ? doubtsOf(effective) : null,
      lot: sql<number>`('x' || substr(md5(project || '/' || call_id), 1, 7))::bit(28)::integer`,
    })
    .where('project', '=', project)
    .where('call_id', '=', callId)
    .where('version', '=', version)
    .execute();
};

/** Brings the call's score up to what its newest version's analysis and reviews make it. */
export const settleScore = async (tx: Tx, call: CallVersion): Promise<void> => {
  const { analysis, advisory } = await analysisOf(tx, call);
  const entries = (analysis && (await entriesOf(tx, call)).get(call.version)) ?? [];
  await keepScore(tx, call, analysis && effectiveAnalysis(analysis, { entries, advisory: advisory ?? [] }));
};

/**
 * Takes over to a version that was just opened what people have said of the results that it takes over.
 *
 * With the analysis come its reviews. A version that keeps only the transcript gets its speakers as they
 * stood: its analysis is made from those.
 */
export const carryReviews = async (tx: Transaction<Schema>, { project, callId, version }: CallVersion, from: Step): Promise<void> => {
  const before = { project, callId, version: version - 1 };
  if (groupOf(from) > groupOf('analysis')) {
    await sql`update call_versions set advisory = previous.advisory from call_versions previous
      where call_versions.project = ${project} and call_versions.call_id = ${callId} and call_versions.version = ${version}
        and previous.project = ${project} and previous.call_id = ${callId} and previous.version = ${version - 1}`.execute(tx);
    await sql`insert into reviews (project, call_id, version, revision, analysis_version, kind, act, undoes, verdicts, claimed, stamps, by_name, by_kind, at)
      select project, call_id, ${version}, revision, analysis_version, kind, act, undoes, verdicts, claimed, stamps, by_name, by_kind, at
      from reviews where project = ${project} and call_id = ${callId} and version = ${version - 1}`.execute(tx);
  } else if (groupOf(from) > groupOf('transcription')) {
    await keepSpeakers(tx, { project, callId, version }, before);
  }
};

/** Forgets what was said of an analysis that is made anew in the same version; its speakers stay. The version that the reviews came from has them still. */
export const dropReviews = async (tx: Tx, call: CallVersion): Promise<void> => {
  await keepSpeakers(tx, call, call);
  await tx.deleteFrom('reviews').where('project', '=', call.project).where('call_id', '=', call.callId).where('version', '=', call.version).execute();
};

/** Lets a version's transcript be read with the speakers that people gave those of another version. */
const keepSpeakers = async (tx: Tx, { project, callId, version }: CallVersion, from: CallVersion): Promise<void> => {
  const { swap } = standingOf((await entriesOf(tx, from)).get(from.version) ?? []);
  if (!swap) return;
  const speakers = composed(await speakersOf(tx, from), swap.speakers);
  await sql`update call_versions set transcript = transcript || jsonb_build_object('speakers', ${json(speakers)}::jsonb)
    where project = ${project} and call_id = ${callId} and version = ${version} and transcript is not null`.execute(tx);
};

const speakersOf = async (tx: Tx, { project, callId, version }: CallVersion): Promise<Record<string, string>> => {
  const row = await tx.selectFrom('call_versions').select('transcript').where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).executeTakeFirst();
  return row?.transcript?.speakers ?? {};
};

/** One renaming after another. Names that the first does not touch are the second's business alone. */
const composed = (first: Record<string, string>, second: Record<string, string>): Record<string, string> => ({
  ...second,
  ...Object.fromEntries(Object.entries(first).map(([label, name]) => [label, Object.hasOwn(second, name) ? second[name]! : name])),
});
