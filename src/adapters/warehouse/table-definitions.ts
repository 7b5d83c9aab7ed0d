import { catalogTable, type ColumnType, fileColumns, PARTITION_COLUMN, tablePrefix, type WarehouseForm, type WarehouseTable } from '../../domain/warehouse-tables.ts';

const SNOWFLAKE_TYPES: Record<ColumnType, string> = { string: 'VARCHAR', int: 'INTEGER', bigint: 'BIGINT', double: 'DOUBLE', boolean: 'BOOLEAN', timestamp: 'TIMESTAMP_NTZ(3)', date: 'DATE' };
/** As Hive and Glue name them. */
export const HIVE_TYPES: Record<ColumnType, string> = { string: 'string', int: 'int', bigint: 'bigint', double: 'double', boolean: 'boolean', timestamp: 'timestamp', date: 'date' };

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/**
 * The table in Snowflake, which holds all projects.
 *
 * Transient and without Time Travel: what is erased is not kept in an earlier state of the table, nor in Fail-safe.
 */
export const snowflakeTable = (table: WarehouseTable): string =>
  [
    `CREATE TRANSIENT TABLE IF NOT EXISTS ${table} (`,
    [...fileColumns(table), PARTITION_COLUMN].map(({ name, type, nullable, about }) => `  ${name} ${SNOWFLAKE_TYPES[type]}${nullable ? '' : ' NOT NULL'} COMMENT ${quoted(about)}`).join(',\n'),
    ')',
    'CLUSTER BY (project, dt)',
    'DATA_RETENTION_TIME_IN_DAYS = 0;',
  ].join('\n');

const SERDES: Record<WarehouseForm, { library: string; input: string; output: string }> = {
  // Hive's own JSON reader: AWS warns that results of OpenX's may differ between runs.
  json: { library: 'org.apache.hive.hcatalog.data.JsonSerDe', input: 'org.apache.hadoop.mapred.TextInputFormat', output: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' },
  parquet: { library: 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe', input: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat', output: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat' },
};
/** No call is taken from before; days without files cost Athena nothing but a look. */
const FIRST_DAY = '2000-01-01';

/** A table of files as Glue and Athena know it: its days are reckoned, never registered. */
export const athenaTable = (bucket: string, project: string, form: WarehouseForm, table: WarehouseTable) => {
  const location = `s3://${bucket}/${tablePrefix(project, form, table)}`;
  return {
    name: catalogTable(project, form, table),
    location,
    columns: fileColumns(table).map(({ name, type, about }) => ({ name, type: HIVE_TYPES[type], about })),
    ...SERDES[form],
    properties: {
      EXTERNAL: 'TRUE',
      classification: form,
      'projection.enabled': 'true',
      'projection.dt.type': 'date',
      'projection.dt.format': 'yyyy-MM-dd',
      // A voice call may be asked for some days ahead of the clock of another zone; never more.
      'projection.dt.range': `${FIRST_DAY},NOW+2DAYS`,
      'projection.dt.interval': '1',
      'projection.dt.interval.unit': 'DAYS',
      'storage.location.template': `${location}dt=\${dt}/`,
    } as Record<string, string>,
  };
};

/** The same as SQL for Athena's own console. */
export const athenaSql = (database: string, bucket: string, project: string, form: WarehouseForm, table: WarehouseTable): string => {
  const { name, location, columns, library, input, output, properties } = athenaTable(bucket, project, form, table);
  return [
    `CREATE EXTERNAL TABLE IF NOT EXISTS \`${database}\`.\`${name}\` (`,
    columns.map((column) => `  \`${column.name}\` ${column.type} COMMENT ${quoted(column.about)}`).join(',\n'),
    ')',
    `PARTITIONED BY (\`dt\` string)`,
    `ROW FORMAT SERDE '${library}'`,
    `STORED AS INPUTFORMAT '${input}' OUTPUTFORMAT '${output}'`,
    `LOCATION '${location}'`,
    `TBLPROPERTIES (`,
    Object.entries(properties).filter(([property]) => property !== 'EXTERNAL').map(([property, value]) => `  '${property}' = '${value}'`).join(',\n'),
    ');',
  ].join('\n');
};
