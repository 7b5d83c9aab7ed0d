import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetPartitionsCommand, GetTableCommand, GlueClient, type Table } from '@aws-sdk/client-glue';
import { GetObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';

/** What a table is read from, as DuckDB takes it behind FROM; undefined: there is no such table. */
export type TableSource = (database: string, name: string) => Promise<string | undefined>;

const TYPES: Record<string, string> = { string: 'VARCHAR', int: 'INTEGER', bigint: 'BIGINT', double: 'DOUBLE', boolean: 'BOOLEAN', timestamp: 'TIMESTAMP', date: 'DATE' };

/** The days that a projection reckons: `2000-01-01,NOW+2DAYS`, both included. */
const projectedDays = (range: string | undefined, nowMs: number): { has(day: string): boolean } => {
  const dayOf = (bound: string): string => {
    const [, sign, days] = /^NOW(?:([+-])(\d+)DAYS)?$/.exec(bound) ?? [];
    if (bound.startsWith('NOW')) return new Date(nowMs + Number(`${sign ?? '+'}${days ?? 0}`) * 86_400_000).toISOString().slice(0, 10);
    return bound;
  };
  const [first, last] = (range ?? '').split(',').map(dayOf);
  if (!first || !last) throw new Error(`INVALID_TABLE_PROPERTY: projection.dt.range is ${range ?? 'missing'}.`);
  return { has: (day) => first <= day && day <= last };
};

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;

/** Hive's serialisation for JSON reads nothing else in a column of timestamps. */
const HIVE_TIMESTAMP = '%Y-%m-%d %H:%M:%S.%g';

/**
 * Tables as a Glue catalogue describes them, with their objects fetched from S3.
 *
 * Objects are fetched once per version. Partitions are found by projection on `dt` within its range, or as they are
 * registered; what lies in neither is not read, as with Athena.
 *
 * @param options.nowMs what a range means by `NOW`; default: the clock's
 */
export const glueTables = ({ endpoint, region, folder, nowMs = () => Date.now() }: { endpoint: string; region: string; folder: string; nowMs?: () => number }): TableSource & { close(): void } => {
  const glue = new GlueClient({ endpoint, region });
  const s3 = new S3Client({ endpoint, region, forcePathStyle: true });

  const known = new Set<string>();

  const fetched = async (bucket: string, key: string, etag: string): Promise<string> => {
    const path = join(folder, createHash('sha256').update(`${bucket}/${key}/${etag}`).digest('hex'));
    if (known.has(path)) return path;
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    await writeFile(path, await Body!.transformToByteArray());
    known.add(path);
    return path;
  };

  /** Which days there are. The partition of a key under a location: `dt=2026-11-01/file` is `2026-11-01`. */
  const partitionsOf = async (database: string, table: Table): Promise<{ has(day: string): boolean } | 'none'> => {
    if ((table.PartitionKeys ?? []).length === 0) return 'none';
    if (table.Parameters?.['projection.enabled'] === 'true') return projectedDays(table.Parameters['projection.dt.range'], nowMs());
    const { Partitions = [] } = await glue.send(new GetPartitionsCommand({ DatabaseName: database, TableName: table.Name }));
    return new Set(Partitions.map(({ Values }) => Values![0]!));
  };

  const source = async (database: string, name: string): Promise<string | undefined> => {
    const table = await glue.send(new GetTableCommand({ DatabaseName: database, Name: name })).then(
      ({ Table }) => Table,
      () => undefined,
    );
    if (!table) return undefined;
    const { Location = '', Columns = [], SerdeInfo } = table.StorageDescriptor ?? {};
    const [, bucket, prefix] = /^s3:\/\/([^/]+)\/(.*)$/.exec(Location) ?? [];
    if (!bucket) throw new Error(`The table ${name} lies nowhere: ${Location}.`);
    const partitions = await partitionsOf(database, table);
    const parquet = SerdeInfo?.SerializationLibrary?.toLowerCase().includes('parquet') ?? false;
    await mkdir(folder, { recursive: true });
    const parts = new Map<string, string[]>();
    for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket: bucket, Prefix: prefix })) {
      for (const { Key, ETag = '' } of page.Contents ?? []) {
        const rest = Key!.slice(prefix!.length);
        // Athena does not read what begins so.
        if (/(^|\/)[._][^/]*$/.test(rest)) continue;
        const value = /^dt=([^/]+)\//.exec(rest)?.[1] ?? '';
        if (partitions !== 'none' && (value === '' || !partitions.has(value))) continue;
        parts.set(value, [...(parts.get(value) ?? []), await fetched(bucket, Key!, ETag)]);
      }
    }
    const columns = Columns.map(({ Name, Type }) => ({ name: Name!, type: TYPES[Type ?? ''] ?? 'VARCHAR' }));
    const dt = (table.PartitionKeys ?? []).map(({ Name }) => Name!);
    const nothing = `SELECT ${[...columns, ...dt.map((key) => ({ name: key, type: 'VARCHAR' }))].map(({ name: column, type }) => `NULL::${type} AS ${column}`).join(', ')} WHERE false`;
    const read = [...parts].map(([value, files]) => {
      const list = `[${files.map(text).join(', ')}]`;
      const from = parquet ? `read_parquet(${list}, union_by_name = true)` : `read_json(${list}, format = 'newline_delimited', timestampformat = '${HIVE_TIMESTAMP}', columns = {${columns.map(({ name: column, type }) => `${column}: '${type}'`).join(', ')}})`;
      return `SELECT *${dt.map((key) => `, ${text(value)} AS ${key}`).join('')} FROM ${from}`;
    });
    return `(${[nothing, ...read].join(' UNION ALL BY NAME ')})`;
  };
  return Object.assign(source, {
    close: () => {
      glue.destroy();
      s3.destroy();
    },
  });
};
