import type { Config } from '../../../config.ts';
import { AftercallError } from '../../../domain/errors.ts';
import { callTableName } from '../../../domain/ids.ts';
import { countSql, toCounts } from '../counts.ts';
import type { Warehouse } from '../warehouse.ts';
import { type AthenaConfig, createAthenaQueries } from './queries.ts';

const TIMEOUT_MS = 10 * 60_000;

/** Counts the call table through Amazon Athena. */
export const createAthena = (config: AthenaConfig & Pick<Config, 'GLUE_TABLE'>, options: Parameters<typeof createAthenaQueries>[1] = {}): Warehouse => {
  const queries = createAthenaQueries(config, options);
  return {
    async countCalls(project, { signal = new AbortController().signal } = {}) {
      const { columns, rows } = await queries.run(countSql(`"${config.GLUE_DATABASE}"."${callTableName(config.GLUE_TABLE, project)}"`), [], { doing: 'Counting the call table', signal, timeoutMs: TIMEOUT_MS, maxRows: 1 });
      const [row] = rows;
      if (!row) throw new AftercallError('UPSTREAM_NONSENSE', 'Athena answered the count without a row.', { advice: 'Look the query up in Athena.' });
      return toCounts(Object.fromEntries(columns.map((name, index) => [name, row[index]])));
    },
  };
};
