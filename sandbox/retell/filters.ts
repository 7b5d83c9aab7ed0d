/** The filters of `POST /v3/list-calls`: all of them have to hold. */

interface Filter {
  type: 'string' | 'number' | 'boolean' | 'range' | 'enum' | 'present';
  op: string;
  value?: unknown;
  key?: string;
}

/** A criterion that the API does not know, or not like this: it is refused, not passed over. */
export class FilterRefused extends Error {}

const SINGLE = ['call_id', 'call_status', 'call_successful', 'call_type', 'combined_cost', 'direction', 'disconnection_reason', 'duration_ms', 'end_timestamp', 'from_number', 'in_voicemail', 'start_timestamp', 'to_number', 'user_sentiment', 'data_storage_setting'];
const LISTED: Record<string, string> = { metadata: 'metadata', dynamic_variables: 'retell_llm_dynamic_variables' };

export const matchesAll = (call: Record<string, unknown>, criteria: Record<string, unknown>): boolean =>
  Object.entries(criteria).every(([name, filter]) => {
    if (name === 'agent') return (filter as { agent_id: string }[]).some(({ agent_id: id }) => call['agent_id'] === id);
    if (SINGLE.includes(name)) return holds(valueOf(call, name), filter as Filter);
    const field = LISTED[name];
    if (!field || !Array.isArray(filter)) throw new FilterRefused(`filter_criteria/${name} is not known`);
    return (filter as Filter[]).every((each) => holds((call[field] as Record<string, unknown> | undefined)?.[each.key ?? ''], each));
  });

const valueOf = (call: Record<string, unknown>, name: string): unknown => {
  const analysis = call['call_analysis'] as Record<string, unknown> | undefined;
  if (['call_successful', 'in_voicemail', 'user_sentiment'].includes(name)) return analysis?.[name];
  if (name === 'combined_cost') return (call['call_cost'] as { combined_cost?: number } | undefined)?.combined_cost;
  return call[name];
};

const holds = (actual: unknown, { type, op, value }: Filter): boolean => {
  const test = TESTS[type]?.[op];
  if (!test) throw new FilterRefused(`filter_criteria: ${type} cannot be compared by ${op}`);
  return test(actual, value);
};

type Test = (actual: unknown, value: unknown) => boolean;
const text = (compare: (actual: string, value: string) => boolean): Test => (actual, value) => typeof actual === 'string' && compare(actual, value as string);
const number = (compare: (actual: number, value: number) => boolean): Test => (actual, value) => typeof actual === 'number' && compare(actual, value as number);

const TESTS: Record<Filter['type'], Record<string, Test>> = {
  string: {
    eq: text((actual, value) => actual === value),
    ne: (actual, value) => actual !== value,
    sw: text((actual, value) => actual.startsWith(value)),
    ew: text((actual, value) => actual.endsWith(value)),
    co: text((actual, value) => actual.includes(value)),
  },
  number: {
    eq: number((actual, value) => actual === value),
    ne: (actual, value) => actual !== value,
    gt: number((actual, value) => actual > value),
    ge: number((actual, value) => actual >= value),
    lt: number((actual, value) => actual < value),
    le: number((actual, value) => actual <= value),
  },
  boolean: { eq: (actual, value) => actual === value },
  // Whether the upper bound belongs to it is not documented.
  range: { bt: (actual, value) => typeof actual === 'number' && actual >= (value as number[])[0]! && actual <= (value as number[])[1]! },
  enum: { in: (actual, value) => (value as unknown[]).includes(actual) },
  present: { pr: (actual) => actual !== undefined, np: (actual) => actual === undefined },
};
