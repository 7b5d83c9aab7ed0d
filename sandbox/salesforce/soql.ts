import { fieldsOf, isObjectName, type ObjectName, RecordError, type SalesforceRecord } from './records.ts';

/** The part of SOQL that simple clients use: SELECT fields FROM object [WHERE a = b AND …] [ORDER BY field] [LIMIT n]. */
export interface Query {
  object: ObjectName;
  fields: string[];
  where: { field: string; value: string | number | boolean | null }[];
  order?: { field: string; descending: boolean };
  limit?: number;
}

const malformed = (what: string): RecordError => new RecordError('MALFORMED_QUERY', what);

const UNESCAPED: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

export const parseSoql = (text: string): Query => {
  const [, select, object, rest = ''] = /^\s*SELECT\s+([\w\s,.]+?)\s+FROM\s+(\w+)\s*([\s\S]*)$/i.exec(text) ?? [];
  if (!select || !object) throw malformed(`unexpected token: ${text.slice(0, 40)}`);
  if (!isObjectName(object)) throw new RecordError('INVALID_TYPE', `sObject type '${object}' is not supported.`);
  const query: Query = { object, fields: select.split(',').map((field) => field.trim()), where: [] };
  // Conditions are read one by one, because literals may hold any keyword.
  let left = rest.trim();
  const take = (pattern: RegExp): RegExpExecArray | null => {
    const match = pattern.exec(left);
    if (match) left = left.slice(match[0].length).trimStart();
    return match;
  };
  if (take(/^WHERE\s+/i)) {
    do {
      const condition = take(/^(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(true|false)|(null)|(-?\d+(?:\.\d+)?))/i);
      if (!condition) throw malformed(`unexpected token: ${left.slice(0, 40)}`);
      const [, field, string, boolean, nothing, number] = condition;
      const value = string !== undefined ? string.replaceAll(/\\(.)/g, (_all, character: string) => UNESCAPED[character] ?? character) : boolean ? boolean.toLowerCase() === 'true' : nothing ? null : Number(number);
      query.where.push({ field: field!, value });
    } while (take(/^AND\s+/i));
  }
  const order = take(/^ORDER\s+BY\s+(\w+)(?:\s+(ASC|DESC))?/i);
  if (order) query.order = { field: order[1]!, descending: order[2]?.toUpperCase() === 'DESC' };
  const limit = take(/^LIMIT\s+(\d+)/i);
  if (limit) query.limit = Number(limit[1]);
  if (left) throw malformed(`unexpected token: ${left.slice(0, 40)}`);
  checkColumns(query);
  return query;
};

const checkColumns = ({ object, fields, where, order }: Query): void => {
  const known = fieldsOf(object);
  for (const field of [...fields, ...where.map((condition) => condition.field), ...(order ? [order.field] : [])]) {
    if (!known.includes(field)) throw new RecordError('INVALID_FIELD', `No such column '${field}' on entity '${object}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name.`);
  }
  if (where.some(({ field }) => field === 'Description')) throw new RecordError('INVALID_FIELD', "field 'Description' can not be filtered in a query call");
};

const isReference = (field: string): boolean => /(^|[a-z])Id$/.test(field);

/** Text compares without case, IDs by their first 15 characters; a checkbox that was never set is false. */
const isEqual = (field: string, stored: unknown, wanted: unknown): boolean => {
  if (typeof stored === 'string' && typeof wanted === 'string') return isReference(field) ? stored.slice(0, 15) === wanted.slice(0, 15) : stored.toLowerCase() === wanted.toLowerCase();
  return (stored ?? null) === wanted || (wanted === false && stored === undefined);
};

export const run = (query: Query, records: readonly SalesforceRecord[]): Record<string, unknown>[] => {
  const found = records.filter((record) => query.where.every(({ field, value }) => isEqual(field, record[field], value)));
  if (query.order) {
    const { field, descending } = query.order;
    found.sort((a, b) => String(a[field] ?? '').localeCompare(String(b[field] ?? '')) * (descending ? -1 : 1));
  }
  return found.slice(0, query.limit).map((record) => ({
    attributes: { type: query.object, url: `/services/data/v68.0/sobjects/${query.object}/${record.Id}` },
    ...Object.fromEntries(query.fields.map((field) => [field, record[field] ?? null])),
  }));
};
