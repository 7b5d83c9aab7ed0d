import type { SnowflakeConfig } from '../../../config.ts';
import { newestSql } from '../../../domain/warehouse-tables.ts';
import type { QueryEngine } from '../engine.ts';
import { createSnowflakeClient, freshRequestId } from './client.ts';

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Queries the tables that loads keep in Snowflake, which hold all projects. */
export const createSnowflakeEngine = (config: SnowflakeConfig): QueryEngine => {
  const client = createSnowflakeClient(config);
  return {
    dialect: 'snowflake',
    async run(_project, sql, parameters, { signal, maxRows, timeoutMs }) {
      const { columns, rows, truncated } = await client.execute(sql, parameters, { requestId: freshRequestId(), signal, timeoutMs, maxRows });
      return { columns, rows, truncated };
    },
    tableRef(project, table, span) {
      const days = span ? ` AND dt BETWEEN '${day(span.fromMs)}' AND '${day(span.toMs)}'` : '';
      // While a load is under way, rows that it has replaced may still be beside those that replace them.
      return `(${newestSql(table, `(SELECT * FROM ${table} WHERE project = '${project.replaceAll("'", "''")}'${days}) AS stored`)})`;
    },
  };
};
