import { catalogTable, columnsOf, newestSql, type WarehouseForm } from '../../../domain/warehouse-tables.ts';
import type { QueryEngine } from '../engine.ts';
import { type AthenaConfig, createAthenaQueries } from './queries.ts';

const FORMS = ['json', 'parquet'] as const satisfies readonly WarehouseForm[];
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Queries the warehouse's files in a bucket through Amazon Athena. */
export const createAthenaEngine = (config: AthenaConfig, options: Parameters<typeof createAthenaQueries>[1] = {}): QueryEngine => {
  const queries = createAthenaQueries(config, options);
  return {
    dialect: 'athena',
    run: (_project, sql, parameters, { signal, maxRows, timeoutMs }) => queries.run(sql, parameters, { doing: 'Querying the warehouse', signal, maxRows, timeoutMs }),
    tableRef(project, table, span) {
      const columns = columnsOf(table).map(({ name }) => name).join(', ');
      const days = span ? ` WHERE dt BETWEEN '${day(span.fromMs)}' AND '${day(span.toMs)}'` : '';
      const forms = FORMS.map((form) => `SELECT ${columns} FROM "${config.GLUE_DATABASE}"."${catalogTable(project, form, table)}"${days}`);
      return `(${newestSql(table, `(${forms.join(' UNION ALL ')}) AS files`)})`;
    },
  };
};
