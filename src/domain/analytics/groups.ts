import type { Functions } from './dialect.ts';
import { shownWithOffset } from './zone.ts';

/** What results can be divided by. */
export interface Group {
  about: string;
  type: 'text' | 'integer' | 'date' | 'datetime';
  /** Time goes on from row to row; everything else is sorted by size. */
  ordered?: true;
  /** Of a row: its own columns, `at_utc`, `at_local` and `utc_offset`, the seconds in between. */
  sql(functions: Functions): string;
  /** From the engine's value to the one that is shown. Default: as it is. */
  shown?(value: string | number, timeZone: string): string | number;
}

const column = (name: string, about: string): Group => ({ about, type: 'text', sql: () => name });
const bucket = (unit: 'day' | 'week' | 'month', about: string): Group => ({ about, type: 'date', ordered: true, sql: () => `CAST(DATE_TRUNC('${unit}', at_local) AS DATE)` });

export const GROUPS = {
  hour: {
    about: 'the hour, by when it begins; an hour that clocks show twice is two',
    type: 'datetime',
    ordered: true,
    sql: ({ addSeconds }) => addSeconds("DATE_TRUNC('hour', at_local)", '-utc_offset'),
    shown: (value, timeZone) => shownWithOffset(Date.parse(String(value)), timeZone),
  },
  day: bucket('day', 'the day'),
  week: bucket('week', 'the week, by its Monday'),
  month: bucket('month', 'the month, by its first day'),
  hourOfDay: { about: 'the hour of the day, 0 to 23', type: 'integer', ordered: true, sql: () => 'EXTRACT(HOUR FROM at_local)' },
  weekday: { about: 'the day of the week, 1 (Monday) to 7', type: 'integer', ordered: true, sql: ({ isoWeekday }) => isoWeekday('at_local') },
  source: column('source', 'where the call came from'),
  direction: column('direction', 'inbound or outbound'),
  queue: column('queue', 'the queue that the call came in by'),
  team: column('team', "the agent's team"),
  agent: column('agent', 'the person, or the voice agent, that spoke for the company'),
  category: column('category', "the call's category"),
  outcome: column('outcome', 'connected, abandoned, voicemail, busy, no_answer or failed; null while that is not known'),
  batch: column('voice_batch_id', 'the batch that brought the voice call'),
  rubric: column('rubric', 'what the call was graded by'),
  criterion: column('criterion', "the question's ID in its rubric"),
  name: column('name', 'what was noticed'),
  step: column('step', 'the step of the call that was paid for, or preset_test or rescore'),
  kind: column('kind', 'the kind of request'),
  provider: column('provider', 'who was paid'),
  model: column('model', 'for what'),
} as const satisfies Record<string, Group>;

export type GroupName = keyof typeof GROUPS;
export const groupOf = (name: GroupName): Group => GROUPS[name];
export const TIME_GROUPS = ['hour', 'day', 'week', 'month', 'hourOfDay', 'weekday'] as const satisfies readonly GroupName[];
export const CALL_GROUPS = ['source', 'direction', 'queue', 'team', 'agent', 'category'] as const satisfies readonly GroupName[];

/** What rows can be chosen by: the same columns, by the same names. */
export const FILTERS = ['source', 'direction', 'queue', 'team', 'agent', 'category', 'outcome', 'batch', 'rubric', 'criterion', 'step', 'kind', 'provider', 'model'] as const satisfies readonly GroupName[];
export type FilterName = (typeof FILTERS)[number];

/** Values that a row may have; null stands for rows that have none. */
export type Filters = { [F in FilterName]?: readonly (string | null)[] | undefined };
