import type { CallTableCounts } from './warehouse.ts';

/** Counts the call table, in SQL that DuckDB and Athena both understand. `from` is a table name or a table function. */
export const countSql = (from: string): string =>
  [
    'SELECT count(*) AS total_records',
    'count(recording_file) AS with_recording',
    'count(transcript_file) AS with_transcript',
    `count(analysis_file) AS with_analysis FROM ${from}`,
  ].join(', ');

/** The row that `countSql` gives, by column name. Engines hand counts over as numbers, bigints or text. */
export const toCounts = (row: Record<string, unknown>): CallTableCounts => ({
  totalRecords: Number(row['total_records']),
  withRecording: Number(row['with_recording']),
  withTranscript: Number(row['with_transcript']),
  withAnalysis: Number(row['with_analysis']),
});
