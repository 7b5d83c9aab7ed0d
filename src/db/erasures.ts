import { createHash } from 'node:crypto';
import { type Selectable, sql, type Transaction } from 'kysely';
import type { CallKey } from '../domain/call.ts';
import type { Certificate, ErasureKind, Places } from '../domain/erasure.ts';
import { AftercallError } from '../domain/errors.ts';
import type { ReviewAct } from '../domain/review.ts';
import { rescoreHasEnded, type RescoreState } from '../domain/rescore.ts';
import { type Database, json } from './database.ts';
import type { ErasuresTable, Schema } from './schema.ts';
import { eraseTracking } from './tracking.ts';

/** A call as later polls are told from it. */
export const callHash = ({ project, callId }: CallKey): string => createHash('sha256').update(`${project}/${callId}`).digest('hex');

/** Tables that say that something was erased, and the log that nothing is taken out of. */
const STAY = ['erased_calls', 'erasures', 'audit_log'];
/** Everything that one call goes by: its own ID as a voice call, the provider's, and that of the call that it was handed over as. */
interface VoiceNames {
  id: string;
  provider_call_id: string | null;
  call_id: string | null;
}

/** Calls that were placed for us, by any of their names. */
const voiceCallsOf = async (on: Database | Transaction<Schema>, project: string, callIds: readonly string[]): Promise<VoiceNames[]> => {
  const asked = sql`any(${sql.val([...callIds])}::text[])`;
  // One look into an index for each name.
  const { rows } = await sql<VoiceNames>`select id, provider_call_id, call_id from voice_calls where project = ${project} and id = ${asked}
    union select id, provider_call_id, call_id from voice_calls where project = ${project} and call_id = ${asked}
    union select id, provider_call_id, call_id from voice_calls where project = ${project} and provider_call_id = ${asked} order by id`.execute(on);
  return rows;
};
const namesOf = ({ id, provider_call_id, call_id }: VoiceNames): string[] => [id, provider_call_id, call_id].filter((name) => name !== null);

/**
 * The calls that are meant, each under one name: a voice call that was handed over is the call that it was handed over
 * as; one that was not is its own.
 */
const meant = async (on: Database | Transaction<Schema>, project: string, callIds: readonly string[]): Promise<{ callIds: string[]; names: string[] }> => {
  const voiceCalls = await voiceCallsOf(on, project, callIds);
  const { rows } = await sql<{ call_id: string }>`select call_id from calls where project = ${project} and call_id = any(${sql.val(voiceCalls.flatMap(namesOf))}::text[])`.execute(on);
  const there = new Set(rows.map((row) => row.call_id));
  const asCall = new Map(voiceCalls.map((voiceCall) => [voiceCall.id, namesOf(voiceCall).find((name) => there.has(name)) ?? voiceCall.id]));
  return { callIds: [...new Set(callIds.map((callId) => asCall.get(callId) ?? callId))], names: [...new Set([...callIds, ...voiceCalls.flatMap(namesOf)])] };
};

/** From here on nothing brings them back. */
const keepOut = async (tx: Transaction<Schema>, project: string, callIds: readonly string[]): Promise<void> => {
  await sql`insert into erased_calls (project, call_hash) select ${project}, call_hash from jsonb_array_elements_text(${JSON.stringify(callIds.map((callId) => callHash({ project, callId })))}::jsonb) as asked (call_hash) order by 2 on conflict do nothing`.execute(tx);
};
/** Last, and in this order: the others refer to them. */
const LAST = ['call_versions', 'calls'];

export const createErasures = (db: Database) => {
  /** Every table with a column for a call, also those that come later. */
  const tables = async (): Promise<string[]> => {
    const { rows } = await sql<{ name: string }>`
      select p.table_name as name from information_schema.columns p join information_schema.columns c using (table_schema, table_name)
      where p.table_schema = current_schema() and p.column_name = 'project' and c.column_name = 'call_id' order by 1`.execute(db);
    const found = rows.map(({ name }) => name).filter((name) => !STAY.includes(name));
    return [...found.filter((name) => !LAST.includes(name)), ...LAST];
  };

  return {
    /** Writes down what is to be erased, by any of its names. Repeating it changes nothing. */
    async open({ project, id, kind, subject, by, callIds: asked }: { project: string; id: string; kind: ErasureKind; subject: Certificate['subject']; by: string; callIds: readonly string[] }): Promise<void> {
      await db.transaction().execute(async (tx) => {
        const { callIds, names } = await meant(tx, project, asked);
        const opened = await tx
          .insertInto('erasures')
          .values({ project, id, kind, subject_key: subject.key, subject_hash: subject.hmacSha256, requested_by: by, calls: callIds.length })
          .onConflict((conflict) => conflict.doNothing())
          .returning('id')
          .executeTakeFirst();
        if (!opened || callIds.length === 0) return;
        await sql`insert into erasure_calls (project, erasure_id, call_id) select ${project}, ${id}, call_id from jsonb_array_elements_text(${JSON.stringify(callIds)}::jsonb) as asked (call_id)`.execute(tx);
        await keepOut(tx, project, names);
      });
    },

    async pending(project: string, id: string, limit: number): Promise<string[]> {
      const rows = await db.selectFrom('erasure_calls').select('call_id').where('project', '=', project).where('erasure_id', '=', id).orderBy('call_id').limit(limit).execute();
      return rows.map((row) => row.call_id);
    },

    /** Rows about some calls, by table. */
    async count(project: string, callIds: readonly string[]): Promise<Places> {
      const places: Places = {};
      for (const table of await tables()) {
        const { rows } = await sql<{ rows: number }>`select count(*)::int as rows from ${sql.table(table)} where project = ${project} and call_id = any(${sql.val([...callIds])}::text[])`.execute(db);
        if (table !== 'erasure_calls' && rows[0]!.rows > 0) places[table] = rows[0]!.rows;
      }
      const voiceCalls = (await voiceCallsOf(db, project, callIds)).map((voiceCall) => voiceCall.id);
      const { rows } = await sql<{ rows: number }>`select count(*)::int as rows from tracking_events where project = ${project} and subject = any(${sql.val(voiceCalls)}::text[])`.execute(db);
      if (rows[0]!.rows > 0) places['tracking_events'] = rows[0]!.rows;
      if (voiceCalls.length > 0) places['voice_calls'] = voiceCalls.length;
      const { rows: unhanded } = await sql<{ rows: number }>`select count(*)::int as rows from costs where project = ${project} and voice_call_id = any(${sql.val(voiceCalls)}::text[]) and call_id is null`.execute(db);
      if (unhanded[0]!.rows > 0) places['costs'] = (places['costs'] ?? 0) + unhanded[0]!.rows;
      return places;
    },

    /** Uploads that wait to be taken in with a call. */
    async uploadsOf({ project, callId }: CallKey): Promise<string[]> {
      const { rows } = await sql<{ key: string }>`select audio_key as key from inbox where project = ${project} and about = ${callId} and audio_key is not null`.execute(db);
      return rows.map(({ key }) => key);
    },

    /** Workflows besides its own that have looked at a call. A failed shadow run can be resumed. */
    async trialsOf({ project, callId }: CallKey): Promise<{ presetTests: string[]; rescoresEnded: string[]; rescoresUnderWay: string[] }> {
      const tests = await db.selectFrom('preset_tests').select('id').where('project', '=', project).where('call_id', '=', callId).execute();
      const rescores = await db
        .selectFrom('rescores')
        .select(['id', 'state'])
        .where('project', '=', project)
        .where('id', 'in', (sub) => sub.selectFrom('rescore_calls').select('rescore_id').where('project', '=', project).where('call_id', '=', callId))
        .execute();
      const over = (state: RescoreState): boolean => rescoreHasEnded(state) && state !== 'failed';
      return { presetTests: tests.map(({ id }) => id), rescoresEnded: rescores.filter(({ state }) => over(state)).map(({ id }) => id), rescoresUnderWay: rescores.filter(({ state }) => !over(state)).map(({ id }) => id) };
    },

    /** Removes every row about a call and crosses it off, at once. What was spent on it stays in the sums. */
    async eraseRows({ project, callId }: CallKey, id: string, { erased, left, removedKeys }: { erased: Places; left: Places; removedKeys: readonly string[] }): Promise<void> {
      const named = await tables();
      // As a whole: another call's ID may begin with this one's.
      const quoted = JSON.stringify(callId);
      await db.transaction().execute(async (tx) => {
        await sql`select set_config('app.keep_totals', 'on', true)`.execute(tx);
        const call = await tx.selectFrom('calls').select(['queue_name', 'agent_name', 'origin_number', 'destination_number']).where('project', '=', project).where('call_id', '=', callId).executeTakeFirst();
        const places: Places = { ...erased };
        const remove = async (table: string, query: Promise<{ numAffectedRows?: bigint }>): Promise<void> => {
          const { numAffectedRows = 0n } = await query;
          if (numAffectedRows > 0n && table !== 'erasure_calls') places[table] = (places[table] ?? 0) + Number(numAffectedRows);
        };
        const found = (await voiceCallsOf(tx, project, [callId])).map((voiceCall) => voiceCall.id);
        // What is told of it just now is written before this goes on, or finds nothing to be written to.
        const { rows: held } = await sql<VoiceNames>`select id, provider_call_id, call_id from voice_calls where project = ${project} and id = any(${sql.val(found)}::text[]) order by id for update`.execute(tx);
        const voiceCalls = held.map((voiceCall) => voiceCall.id);
        // Its own ID also where the row is gone: an event that was being written then is found by this.
        const told = await eraseTracking(tx, project, [...new Set([callId, ...voiceCalls])]);
        const atProvider = held.flatMap(({ provider_call_id: name }) => name ?? []);
        // One that its source tells of later does not come back under the provider's ID; nor is its number dialled by a
        // repeat of the request that placed it, under the ID that such a repeat gets.
        await keepOut(tx, project, held.flatMap(namesOf));
        // One that is handed over just now goes, too: it is the next to be erased.
        const handedOver = [...new Set(held.flatMap(namesOf))].filter((name) => name !== callId && !voiceCalls.includes(name));
        await sql`insert into erasure_calls (project, erasure_id, call_id) select ${project}, ${id}, name from unnest(${sql.val(handedOver)}::text[]) as names (name) on conflict do nothing`.execute(tx);
        if (told.removed > 0) places['tracking_events'] = told.removed;
        // With the voice call locked, as whoever takes in what is seen of it has it.
        await remove('costs', sql`delete from costs where project = ${project} and voice_call_id = any(${sql.val(voiceCalls)}::text[])`.execute(tx));
        await remove('voice_calls', sql`delete from voice_calls where project = ${project} and id = any(${sql.val(voiceCalls)}::text[])`.execute(tx));
        for (const table of named) await remove(table, sql`delete from ${sql.table(table)} where project = ${project} and call_id = ${callId}`.execute(tx));
        await remove('run_tasks', sql`delete from run_tasks where call_id = ${callId} and split_part(run_id, '.', 1) = ${project}`.execute(tx));
        await remove('run_log', sql`delete from run_log where fields ->> 'callId' = ${callId} and split_part(run_id, '.', 1) = ${project}`.execute(tx));
        // One that came just now, with a recording that is not removed: its delivery drops both.
        const cleared = sql`(audio_key is null or audio_key = any(${sql.val([...removedKeys])}::text[]))`;
        await remove('inbox', sql`delete from inbox where project = ${project} and (about = ${callId} or about = any(${sql.val(atProvider)}::text[]) or position(${quoted} in body::text) > 0) and ${cleared}`.execute(tx));
        // Answers about the call, not whatever has such a name in it: the table is everybody's.
        await remove('idempotency_keys', sql`delete from idempotency_keys where response ->> 'callId' = ${callId} or response ->> 'voiceCallId' = any(${sql.val(voiceCalls)}::text[])`.execute(tx));
        for (const [kind, term, ...columns] of [['queue', call?.queue_name, 'queue_name'], ['agent', call?.agent_name, 'agent_name'], ['phone', call?.origin_number, 'origin_number', 'destination_number'], ['phone', call?.destination_number, 'origin_number', 'destination_number']] as const) {
          if (!term) continue;
          const used = columns.map((column) => sql`exists (select from calls where project = ${project} and ${sql.ref(column)} = ${term})`);
          await sql`delete from call_terms where project = ${project} and kind = ${kind} and term = ${term} and not (${sql.join(used, sql` or `)})`.execute(tx);
        }
        await tx.updateTable('erasures').set({ counts: sql`${merged('counts', places)}`, left_over: sql`${merged('left_over', { ...left, ...(told.sent > 0 ? { 'tracking events that were sent': told.sent } : {}) })}` }).where('project', '=', project).where('id', '=', id).execute();
      });
    },

    /** @param beside what was erased, and what had to stay, beside the rows of its calls */
    async end(project: string, id: string, { erased = {}, left = {} }: { erased?: Places; left?: Places } = {}): Promise<void> {
      // Numbers that a call had once and its source has corrected since are found by no call any more.
      const unused = (column: 'origin_number' | 'destination_number') => sql`not exists (select from calls where project = ${project} and ${sql.ref(column)} = call_terms.term)`;
      await sql`delete from call_terms where project = ${project} and kind = 'phone' and ${unused('origin_number')} and ${unused('destination_number')}`.execute(db);
      await db.updateTable('erasures').set({ ended_at: sql`now()`, counts: sql`${merged('counts', erased)}`, left_over: sql`${merged('left_over', left)}` }).where('project', '=', project).where('id', '=', id).where('ended_at', 'is', null).execute();
    },

    async get(project: string, id: string): Promise<Certificate> {
      const row = await db.selectFrom('erasures').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();
      if (!row) throw new AftercallError('NOT_FOUND', `There is no erasure ${id} in project ${project}.`, { advice: 'List the erasures to see their IDs.' });
      return toCertificate(row);
    },

    async list(project: string, limit: number): Promise<Certificate[]> {
      return (await db.selectFrom('erasures').selectAll().where('project', '=', project).orderBy('requested_at', 'desc').limit(limit).execute()).map(toCertificate);
    },

    /** Those that are not at their end, of all projects. */
    async underWay(): Promise<{ project: string; id: string }[]> {
      return db.selectFrom('erasures').select(['project', 'id']).where('ended_at', 'is', null).execute();
    },

    /** Calls with a number, whoever called whom. */
    async callsOf(project: string, digits: string, limit: number): Promise<string[]> {
      const rows = await sql<{ call_id: string }>`
        -- Some sources write 00 for the plus sign.
        select call_id from calls where project = ${project} and origin_number in (${digits}, ${`00${digits}`})
        union select call_id from calls where project = ${project} and destination_number in (${digits}, ${`00${digits}`})
        union select coalesce(call_id, id) from voice_calls where project = ${project} and (to_number = ${`+${digits}`} or from_number = ${`+${digits}`}) limit ${limit}`.execute(db);
      return rows.rows.map((row) => row.call_id);
    },

    /** Ended calls that started before a time; and those that were placed for us, came to an end before it and were no call. */
    async callsBefore(project: string, before: Date, limit: number): Promise<string[]> {
      const rows = await db.selectFrom('calls').select('call_id').where('project', '=', project).where('started_at', '<', before).where('ended_at', 'is not', null).orderBy('started_at').limit(limit).execute();
      if (rows.length > 0) return rows.map((row) => row.call_id);
      const unanswered = await db.selectFrom('voice_calls').select('id').where('project', '=', project).where('settled_at', '<', before).where('call_id', 'is', null).orderBy('settled_at').limit(limit).execute();
      return unanswered.map(({ id }) => id);
    },

    /** The voice calls that belong to a call, or are what an ID stands for. */
    voiceCallsOf: async ({ project, callId }: CallKey): Promise<string[]> => (await voiceCallsOf(db, project, [callId])).map(({ id }) => id),

    /** The calls that some IDs stand for, each under the name that it is erased by. */
    meant: async (project: string, callIds: readonly string[]): Promise<string[]> => (await meant(db, project, callIds)).callIds,

    /** Versions from before a time that still have a recording, or a transcript. */
    async versionsBefore(project: string, what: 'recording' | 'transcript', before: Date, limit: number): Promise<{ callId: string; version: number }[]> {
      const rows = await db
        .selectFrom('call_versions as v')
        .innerJoin('calls as c', (join) => join.onRef('c.project', '=', 'v.project').onRef('c.call_id', '=', 'v.call_id'))
        .select(['v.call_id', 'v.version'])
        .where('v.project', '=', project)
        .where('v.started_at', '<', before)
        .where(`v.${what}`, 'is not', null)
        // Versions share their objects: while one runs, or is not past its time, the call keeps them.
        .where('c.ended_at', 'is not', null)
        .where((eb) => eb.not(eb.exists(eb.selectFrom('call_versions as n').select('n.version').whereRef('n.project', '=', 'v.project').whereRef('n.call_id', '=', 'v.call_id').where('n.started_at', '>=', before))))
        .orderBy('v.started_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({ callId: row.call_id, version: row.version }));
    },

    /** A version goes on without its recording. */
    async forgetRecording({ project, callId }: CallKey, version: number): Promise<void> {
      await db.updateTable('call_versions').set({ recording: null }).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).execute();
    },

    /** A version goes on without what was said: its transcript, quotes of it, and answers that hold either. Scores stay. */
    async forgetWords({ project, callId }: CallKey, version: number, analysis: object | undefined): Promise<void> {
      await db.transaction().execute(async (tx) => {
        // Reviews are append-only but for this.
        await sql`select set_config('app.forget_words', 'on', true)`.execute(tx);
        await tx
          .updateTable('call_versions')
          .set({ transcript: null, ...(analysis ? { analysis: json(analysis) } : {}) })
          .where('project', '=', project)
          .where('call_id', '=', callId)
          .where('version', '=', version)
          .execute();
        const reviews = await tx.selectFrom('reviews').select(['revision', 'act']).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).execute();
        for (const { revision, act } of reviews) {
          await tx.updateTable('reviews').set({ act: json(withoutWords(act)) }).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).where('revision', '=', revision).execute();
        }
        const kept = sql`exists (select from call_versions v where v.project = ${project} and v.call_id = ${callId} and v.transcript is not null)`;
        await sql`update given_calls set transcript = null where project = ${project} and call_id = ${callId} and not ${kept}`.execute(tx);
        await sql`update preset_tests set result = null where project = ${project} and call_id = ${callId}`.execute(tx);
        await sql`update costs set result = null where project = ${project} and call_id = ${callId} and result is not null`.execute(tx);
      });
    },
  };
};

export type Erasures = ReturnType<typeof createErasures>;

/** A review without the words of the call and without people's own about it: what was decided stays. */
const withoutWords = (act: ReviewAct): ReviewAct => {
  switch (act.kind) {
    case 'correct': {
      const { evidence: _quote, ...rest } = act;
      return { ...rest, comment: '' };
    }
    case 'override':
      return { ...act, comment: '' };
    case 'swap_speakers':
      return { ...act, answers: act.answers.map((answer) => ({ ...answer, reason: '', evidence: [], rejected: [] })) };
    case 'confirm':
    case 'undo':
      return act;
  }
};

/** Two sets of counts as one. */
const merged = (column: 'counts' | 'left_over', more: Places) => sql`(
  select coalesce(jsonb_object_agg(place, things), '{}') from (
    select key as place, sum(value::int) as things from (select * from jsonb_each_text(${sql.ref(column)}) union all select * from jsonb_each_text(${JSON.stringify(more)}::jsonb)) both_of group by 1
  ) summed)`;

const toCertificate = (row: Selectable<ErasuresTable>): Certificate => ({
  erasureId: row.id,
  project: row.project,
  kind: row.kind,
  subject: { key: row.subject_key, hmacSha256: row.subject_hash },
  by: row.requested_by,
  requestedAt: row.requested_at.toISOString(),
  endedAt: row.ended_at?.toISOString() ?? null,
  calls: row.calls,
  erased: row.counts,
  notErased: row.left_over,
});
