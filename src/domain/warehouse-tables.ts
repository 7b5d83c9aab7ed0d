import { DEFAULT_PROJECT, projectPrefix } from './ids.ts';

/**
 * The tables that calls are counted in, as every engine sees them: files of JSON and Parquet for DuckDB and Athena,
 * tables of the same names in Snowflake.
 *
 * Glossary: a *unit* is what is loaded anew as a whole (a call with all its answers, one cost, one effect, one event);
 * a *load* is one batch of changed units; a *tombstone* is a row that says of a unit that it is no more, or no longer
 * lies in this day's partition. Of a unit only the rows of its newest load count.
 */

export const WAREHOUSE_TABLES = ['calls', 'answers', 'costs', 'effects', 'events'] as const;
export type WarehouseTable = (typeof WAREHOUSE_TABLES)[number];

/** Timestamps are UTC and written as `YYYY-MM-DD hh:mm:ss.sss`, dates as `YYYY-MM-DD`: text that all engines take. */
export type ColumnType = 'string' | 'int' | 'bigint' | 'double' | 'boolean' | 'timestamp' | 'date';

export interface Column {
  /** Lower case: Hive folds names. */
  name: string;
  type: ColumnType;
  about: string;
  nullable: boolean;
  /** Part of what tells a row from the table's others, within its project. */
  key?: true;
}

export type WarehouseValue = string | number | boolean | null;
/** Every column of its table but `dt`, which is the partition's. */
export type WarehouseRow = Record<string, WarehouseValue>;

type Named<N extends string> = Column & { name: N };
const key = <const N extends string>(name: N, about: string): Named<N> => ({ name, type: 'string', about, nullable: false, key: true });
const always = <const N extends string>(name: N, type: ColumnType, about: string): Named<N> => ({ name, type, about, nullable: false });
const maybe = <const N extends string>(name: N, type: ColumnType, about: string): Named<N> => ({ name, type, about, nullable: true });

/** What begins every row, whatever the table. On a tombstone all other columns are null. */
export const ROW_COLUMNS: readonly Column[] = [
  always('project', 'string', 'the project it belongs to'),
  always('unit_id', 'string', 'what was loaded as a whole: of the rows of one unit, those of the newest load count'),
  always('load_id', 'bigint', 'the load that wrote the row; later loads have greater ones'),
  always('deleted', 'boolean', 'the unit is no more, or no longer in this partition'),
  maybe('updated_at', 'timestamp', 'when the row was read from the database'),
];

/** The UTC day under which a row lies; a column of every table, taken from the name of the folder. */
export const PARTITION_COLUMN = always('dt', 'string', 'UTC day of the partition, `YYYY-MM-DD`');

/**
 * The column whose UTC day is the row's partition. It never differs from it, so a span of time can be narrowed to
 * the partitions of its days without losing a row.
 */
export const PARTITIONED_BY = { calls: 'call_started_at', answers: 'call_started_at', costs: 'day', effects: 'planned_at', events: 'occurred_at' } as const satisfies Record<WarehouseTable, string>;

/** What calls are compared by; the same on every table whose rows belong to a call. */
const DIMENSIONS = [
  maybe('source', 'string', 'where the call came from; `voice` for a voice call that was not handed over to be processed'),
  maybe('direction', 'string', '`inbound` or `outbound`'),
  maybe('call_started_at', 'timestamp', 'when the call started; for a voice call that never did, when it was requested'),
  maybe('queue', 'string', 'the queue that it came in by'),
  maybe('team', 'string', "the agent's team, by the project's settings"),
  maybe('agent', 'string', 'the person, or the voice agent, that spoke for the company'),
  maybe('category', 'string', "the call's category, by the project's settings"),
];

const TABLE_COLUMNS = {
  calls: [
    key('call_id', "the source's ID of the call; the voice call's own (`vc_…`) while it was not handed over"),
    ...DIMENSIONS,
    maybe('duration_ms', 'bigint', 'length of the recording or, where there is none, as the source gives it'),
    maybe('connected', 'boolean', 'whether somebody was reached; null while that is not known'),
    maybe('outcome', 'string', '`connected`, `abandoned`, `voicemail`, `busy`, `no_answer` or `failed`; null while that is not known'),
    maybe('state', 'string', 'where it stands in the pipeline; null for a voice call that was not handed over'),
    maybe('result', 'string', 'what it amounted to: `processed`, `abandoned`, `no_recording` or `too_short`'),
    maybe('version', 'int', 'how often it was processed'),
    maybe('has_recording', 'boolean', 'its recording is stored'),
    maybe('has_transcript', 'boolean', 'its transcript is stored'),
    maybe('has_analysis', 'boolean', 'it was analysed'),
    maybe('language', 'string', 'of the transcript'),
    maybe('rubric', 'string', 'what it was graded by, as in `service-call@1`'),
    maybe('score_percent', 'int', '0 to 100, as people have left it'),
    maybe('passed', 'boolean', 'whether the score reaches the pass mark'),
    maybe('reviewed', 'boolean', 'whether a person has looked at its analysis'),
    maybe('sentiment', 'string', '`positive`, `neutral` or `negative`'),
    maybe('crm_scenario', 'string', 'what the decision table made of it'),
    maybe('crm_action', 'string', 'what was done in the CRM: `none`, `create_lead`, `convert_lead`, `update_account`, `transfer`, or `note_duplicate` where the lead was there already'),
    maybe('lead_id', 'string', "the CRM's ID of the lead that was made, converted or noted on"),
    maybe('account_id', 'string', "the CRM's ID of the account"),
    maybe('contact_id', 'string', "the CRM's ID of the contact"),
    maybe('opportunity_id', 'string', "the CRM's ID of the opportunity that came of it or, after `update_account`, was there before"),
    maybe('voice_call_id', 'string', 'the voice call that it was placed by'),
    maybe('voice_batch_id', 'string', 'the batch that brought the voice call'),
    maybe('voice_state', 'string', 'where the voice call stands'),
    maybe('disconnection_reason', 'string', "why it ended, in the voice provider's words"),
    maybe('requested_at', 'timestamp', 'when the voice call was asked for'),
    maybe('dialled_at', 'timestamp', 'when the voice provider took it'),
    maybe('cost_micro_usd', 'bigint', 'everything that was paid for it so far, in millionths of a US dollar'),
    maybe('processed_at', 'timestamp', 'when the pipeline was done with it'),
  ],
  answers: [
    key('call_id', 'the call'),
    key('criterion', "the question's ID in its rubric"),
    ...DIMENSIONS,
    maybe('version', 'int', "the call's version that was graded"),
    maybe('rubric', 'string', 'as in `service-call@1`'),
    maybe('criterion_category', 'string', "the question's category in its rubric"),
    maybe('verdict', 'string', '`yes`, `no`, `not_applicable` or `not_evidenced`, as people have left it'),
    maybe('claimed', 'string', "the model's own answer, before its evidence was checked"),
    maybe('points', 'double', 'points reached'),
    maybe('out_of', 'double', 'points reachable: 0 where the question did not arise or counts for nothing'),
    maybe('quotes', 'int', 'quotes that stand in the transcript word for word'),
    maybe('reviewed', 'boolean', 'whether a person has confirmed or corrected it'),
    maybe('corrected', 'boolean', 'whether a person has answered otherwise'),
    maybe('advisory', 'boolean', 'counts for nothing in the score'),
  ],
  costs: [
    key('cost_key', 'SHA-256 over what was asked for, and which try it was'),
    maybe('call_id', 'string', 'the call that it was paid for, as in `calls`'),
    maybe('version', 'int', "the call's version"),
    maybe('step', 'string', 'the step of the call, `preset_test`, `rescore`, or `voice`: the call itself'),
    maybe('kind', 'string', '`llm`, `stt`, `diarization` or another kind of request'),
    maybe('provider', 'string', 'who was paid'),
    maybe('model', 'string', 'for what'),
    maybe('state', 'string', '`reserved`: the answer never came, it may still have been billed; `settled`'),
    maybe('micro_usd', 'bigint', 'millionths of a US dollar; of a reserved one, what was set aside'),
    maybe('day', 'date', 'the UTC day that it counts under'),
    maybe('input_tokens', 'bigint', 'of text models; cached ones not among them'),
    maybe('cached_input_tokens', 'bigint', 'of text models'),
    maybe('output_tokens', 'bigint', 'of text models'),
    maybe('audio_seconds', 'double', 'of speech models'),
    maybe('reserved_at', 'timestamp', 'when the request was sent'),
    maybe('settled_at', 'timestamp', 'when its price was known'),
  ],
  effects: [
    key('effect_key', 'SHA-256 over project, call, effect and target'),
    maybe('call_id', 'string', 'the call that it came of'),
    maybe('version', 'int', "the call's version"),
    maybe('effect', 'string', 'what was done, as in `create_lead`'),
    maybe('target', 'string', 'the system that it was done to'),
    maybe('class', 'string', 'what is promised: `upsert_by_key`, `read_before_write` or `no_key`'),
    maybe('state', 'string', '`planned`, `done` or `unknown`'),
    maybe('lead_id', 'string', 'of the record that was written'),
    maybe('account_id', 'string', 'of the record that was written'),
    maybe('contact_id', 'string', 'of the record that was written'),
    maybe('opportunity_id', 'string', 'of the record that was written'),
    maybe('task_id', 'string', 'of the record that was written'),
    maybe('note_id', 'string', 'of the note that was written'),
    maybe('planned_at', 'timestamp', 'when it was written down that it is to be done'),
    maybe('done_at', 'timestamp', 'when it was done'),
  ],
  events: [
    key('event_id', 'unique in its project'),
    maybe('kind', 'string', '`tracking`: told to other systems; `pattern`: something the customer said, from a closed list; `issue`: what the analysis found wrong'),
    maybe('name', 'string', "the tracking event's name; the pattern's kind, as in `objection_price`; the issue's text in lower case"),
    maybe('call_id', 'string', 'the call, once it is known which'),
    maybe('voice_call_id', 'string', 'of tracking events: what they are about'),
    ...DIMENSIONS,
    maybe('occurred_at', 'timestamp', 'of tracking events: when it happened; of patterns and issues: when the call started'),
    maybe('position_ms', 'bigint', 'of patterns: where in the call it was said'),
    maybe('state', 'string', 'of tracking events: how far their delivery is'),
    maybe('delivered_at', 'timestamp', 'of tracking events'),
  ],
} satisfies Record<WarehouseTable, readonly Column[]>;

/** A table's own columns, in order. */
export const COLUMNS: Readonly<Record<WarehouseTable, readonly Column[]>> = TABLE_COLUMNS;
/** Values for a table's own columns; those that are not given are null. */
export type ColumnValues<T extends WarehouseTable> = { [N in (typeof TABLE_COLUMNS)[T][number]['name']]?: WarehouseValue | undefined };

/** All columns of a table as they stand in its files, in order; `dt` stands in the folder's name. */
export const fileColumns = (table: WarehouseTable): readonly Column[] => [...ROW_COLUMNS, ...COLUMNS[table]];

/** All columns that can be queried, in order. */
export const columnsOf = (table: WarehouseTable): readonly Column[] => [...fileColumns(table), PARTITION_COLUMN];

/** The two forms in which rows lie: as they were loaded, and put together by the day. */
export const WAREHOUSE_FORMS = ['json', 'parquet'] as const;
export type WarehouseForm = (typeof WAREHOUSE_FORMS)[number];

/** Where a project's rows lie, by form and table: a folder for each day, `dt=YYYY-MM-DD/`, and nothing else under it. */
export const tablePrefix = (project: string, form: WarehouseForm, table: WarehouseTable): string => `${projectPrefix(project)}${form === 'json' ? 'warehouse' : 'warehouse-daily'}/${table}/`;

/**
 * The name of a project's table in the catalogue, for a form: `aftercall_calls_json`, `aftercall_calls_parquet`.
 *
 * Project IDs hold no underscores, so no two names meet.
 */
export const catalogTable = (project: string, form: WarehouseForm, table: WarehouseTable): string => `aftercall_${table}_${form}${project === DEFAULT_PROJECT ? '' : `_${project.replaceAll('-', '_')}`}`;

/**
 * The newest state of every row, in SQL that all engines take.
 *
 * A row may lie there twice (as loaded and put together, or written by two attempts of one load), and older ones of its
 * unit beside it: neither counts. Gives the table's own columns, `project`, `updated_at` and `dt`.
 * @param from what holds the rows of all loads, with the columns of `columnsOf`
 */
export const newestSql = (table: WarehouseTable, from: string): string => {
  const keys = COLUMNS[table].filter(({ key: isKey }) => isKey).map(({ name }) => name);
  const shown = ['project', ...COLUMNS[table].map(({ name }) => name), 'updated_at', 'dt'];
  return [
    `SELECT ${shown.join(', ')} FROM (`,
    `SELECT ${[...shown, 'load_id', 'deleted'].join(', ')}, MAX(load_id) OVER (PARTITION BY project, unit_id) AS newest_load,`,
    `ROW_NUMBER() OVER (PARTITION BY project, unit_id, ${keys.join(', ')} ORDER BY load_id DESC, deleted DESC) AS repetition`,
    `FROM ${from}) AS loaded WHERE load_id = newest_load AND repetition = 1 AND NOT deleted`,
  ].join(' ');
};
