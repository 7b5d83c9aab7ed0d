import { z } from 'zod';

/** What Snowflake's SQL API answers, as far as it is read. New fields are no mistake. */

const RowType = z.object({ name: z.string(), type: z.string(), scale: z.number().nullish() });

export const StatementResult = z.object({
  code: z.string(),
  statementHandle: z.string(),
  resultSetMetaData: z.object({
    numRows: z.number().optional(),
    format: z.string().optional(),
    rowType: z.array(RowType),
    partitionInfo: z.array(z.object({ rowCount: z.number() })).optional(),
  }),
  data: z.array(z.array(z.string().nullable())).optional(),
  stats: z.record(z.string(), z.unknown()).nullish(),
});
export type StatementResult = z.output<typeof StatementResult>;

/** 202: it goes on. */
export const StatementRunning = z.object({ statementHandle: z.string() });

export const StatementPartition = z.object({ data: z.array(z.array(z.string().nullable())) });

export const StatementFailure = z.object({ code: z.string().optional(), message: z.string().optional(), sqlState: z.string().optional(), statementHandle: z.string().optional() });
export type StatementFailure = z.output<typeof StatementFailure>;
