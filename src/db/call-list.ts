import { type RawBuilder, sql } from 'kysely';
import { CALL_STATES, type CallState } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import type { Gate } from '../domain/messages.ts';
import type { Database } from './database.ts';

export interface CallFilter {
  project: string;
  states?: CallState[];
  source?: string;
  /** Part of a queue's or an agent's name, the beginning or end of a phone number, or the beginning of a call ID. */
  text?: string;
  startedFrom?: Date;
  startedTo?: Date;
  /** Only calls that wait for a person there. */
  waitingAt?: Gate;
}

export interface ListPosition {
  startedAt: Date;
  callId: string;
}

/** Names, numbers or IDs that one text may stand for. */
const MOST_TERMS = 200;
const SHORTEST_NUMBER = 4;
const SHORTEST_ID = 4;
/** The last of all characters: what begins with a text lies between it and it with this behind. */
const LAST = '\u{10FFFF}';

/**
 * The IDs of calls, newest first.
 *
 * Each way of finding calls is walked in order of their start by an index that begins with what is asked for:
 * one walk per state, and per name or number that a text stands for. So a page costs as much as it is long,
 * however many calls there are, and however rare those are that fit.
 *
 * @throws QUERY_TOO_BROAD when a text stands for more names, numbers or IDs than can be walked
 */
export const findCalls = async (db: Database, filter: CallFilter, { limit, after }: { limit: number; after?: ListPosition | undefined }): Promise<string[]> => {
  const conditions = [
    ...(filter.source ? [sql`source = ${filter.source}`] : []),
    ...(filter.startedFrom ? [sql`started_at >= ${filter.startedFrom.toISOString()}::timestamptz`] : []),
    ...(filter.startedTo ? [sql`started_at < ${filter.startedTo.toISOString()}::timestamptz`] : []),
    ...(filter.waitingAt ? [sql`state = 'awaiting_approval'`, filter.waitingAt === 'staging' ? sql`step is null` : sql`step = ${filter.waitingAt}`] : []),
    ...(after ? [sql`(started_at, call_id) < (${after.startedAt.toISOString()}::timestamptz, ${after.callId})`] : []),
  ];
  const newest = (...more: RawBuilder<unknown>[]): RawBuilder<unknown> =>
    sql`(select started_at, call_id from calls where project = ${filter.project} and ${sql.join([...conditions, ...more], sql` and `)} order by started_at desc, call_id desc limit ${limit})`;
  const states = filter.states?.length ? [...new Set(filter.states)] : undefined;

  const walks = filter.text === undefined ? [walkOf(states, filter, newest)] : await walksOf(db, filter.project, filter.text, states ?? [...CALL_STATES], newest);
  if (walks.length === 0) return [];
  const found = await sql<{ call_id: string }>`select call_id from (${sql.join(walks, sql` union `)}) as found order by started_at desc, call_id desc limit ${limit}`.execute(db);
  return found.rows.map((row) => row.call_id);
};

type Newest = (...more: RawBuilder<unknown>[]) => RawBuilder<unknown>;

const perState = (states: CallState[], newest: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(select hit.started_at, hit.call_id from unnest(${sql.val(states)}::text[]) as lane (lane_state) cross join lateral ${newest} as hit)`;

const walkOf = (states: CallState[] | undefined, { source, waitingAt }: CallFilter, newest: Newest): RawBuilder<unknown> => {
  // The index of calls that wait has no state in it, they have but one.
  if (waitingAt || (!states && !source)) return newest(...(states ? [sql`state = any(${sql.val(states)}::text[])`] : [sql`true`]));
  return perState(states ?? [...CALL_STATES], newest(sql`state = lane_state`));
};

/** Where each kind of term stands. */
const COLUMNS = { queue: ['queue_name'], agent: ['agent_name'], phone: ['origin_number', 'destination_number'] } as const;
type Kind = keyof typeof COLUMNS;

const walksOf = async (db: Database, project: string, text: string, states: CallState[], newest: Newest): Promise<RawBuilder<unknown>[]> => {
  const terms = await termsOf(db, project, text);
  const ids = await idsOf(db, project, text);
  const walks = (Object.keys(COLUMNS) as Kind[]).flatMap((kind) => {
    const named = terms.filter((term) => term.kind === kind).map(({ term }) => term);
    if (named.length === 0) return [];
    return COLUMNS[kind].map(
      (column) =>
        sql`(select hit.started_at, hit.call_id from unnest(${sql.val(named)}::text[]) as of_term (lane_term) cross join lateral ${perState(states, newest(sql`${sql.ref(column)} = lane_term`, sql`state = lane_state`))} as hit)`,
    );
  });
  if (ids !== 'too many' && ids.length > 0) walks.push(newest(sql`call_id = any(${sql.val(ids)}::text[])`, sql`state = any(${sql.val(states)}::text[])`));
  if (ids === 'too many' && walks.length === 0) throw tooBroad('IDs of calls begin with');
  return walks;
};

/** Names that hold the text, in any case, and numbers that begin or end with its digits. */
const termsOf = async (db: Database, project: string, text: string): Promise<{ kind: Kind; term: string }[]> => {
  const names = await db
    .selectFrom('call_terms')
    .select(['kind', 'term'])
    .where('project', '=', project)
    .where('kind', 'in', ['queue', 'agent'])
    .where('term', 'ilike', `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`)
    .limit(MOST_TERMS + 1)
    .execute();
  if (names.length > MOST_TERMS) throw tooBroad('names hold');
  const digits = text.replaceAll(/[^0-9]/g, '');
  if (digits.length < SHORTEST_NUMBER || !/^[\d\s()+./-]+$/.test(text)) return names;
  const backwards = [...digits].reverse().join('');
  const numbers = await sql<{ kind: Kind; term: string }>`
    (select kind, term from call_terms where project = ${project} and kind = 'phone' and term >= ${digits} and term < ${digits + LAST} limit ${MOST_TERMS + 1})
    union
    (select kind, term from call_terms where project = ${project} and kind = 'phone' and reversed >= ${backwards} and reversed < ${backwards + LAST} limit ${MOST_TERMS + 1})`.execute(db);
  if (numbers.rows.length > MOST_TERMS) throw tooBroad('phone numbers begin or end with');
  return [...names, ...numbers.rows];
};

const idsOf = async (db: Database, project: string, text: string): Promise<string[] | 'too many'> => {
  if (text.length < SHORTEST_ID) return [];
  const rows = await sql<{ call_id: string }>`
    select call_id from calls
    where project = ${project} and call_id collate "C" >= ${text} and call_id collate "C" < ${text + LAST} limit ${MOST_TERMS + 1}`.execute(db);
  return rows.rows.length > MOST_TERMS ? 'too many' : rows.rows.map((row) => row.call_id);
};

const tooBroad = (what: string): AftercallError =>
  new AftercallError('QUERY_TOO_BROAD', `More than ${MOST_TERMS} ${what} this text.`, { advice: 'Write more of it.', outcome: 'refused' });
