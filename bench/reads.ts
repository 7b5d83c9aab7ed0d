import { performance } from 'node:perf_hooks';
import { sql } from 'kysely';
import pg from 'pg';
import { hashSecret } from '../src/accounts/secrets.ts';
import { createApiTokens } from '../src/db/api-tokens.ts';
import type { Database } from '../src/db/database.ts';
import { asOwner, inProject } from '../src/db/scope.ts';

/** A read through the API, by what it asks for. */
export interface Read {
  what: string;
  path: string;
}

/** What one statement of a read looked like to the database. */
export interface Plan {
  statement: string;
  /** Tables that were read from beginning to end. */
  scanned: string[];
  text: string;
}

/** Tables that grow with the calls. */
export const LARGE = ['calls', 'call_versions', 'costs', 'audit_log', 'effects', 'runs', 'cost_totals', 'bulk_ruling_calls'];

/** Every way in which the API reads lists, with what a person would ask for. */
export const readsOf = async (db: Database, project: string): Promise<Read[]> => {
  const base = `/v1/projects/${project}`;
  const one = await inProject(project, () =>
    db.selectFrom('calls').select(['call_id', 'started_at', 'origin_number', 'queue_name', 'agent_name']).where('project', '=', project).where('result', '=', 'processed').orderBy('started_at').offset(500).limit(1).executeTakeFirstOrThrow(),
  );
  const run = await inProject(project, () => db.selectFrom('runs').select('id').where('project', '=', project).orderBy('started_at', 'desc').orderBy('id', 'desc').limit(1).executeTakeFirstOrThrow());
  const today = new Date().toISOString().slice(0, 10);
  const daysAgo = (days: number): string => new Date(Date.now() - days * 86_400_000).toISOString();
  const old = Buffer.from(JSON.stringify([one.started_at.toISOString(), one.call_id])).toString('base64url');
  const list = (what: string, query: Record<string, string>): Read => ({ what: `calls, ${what}`, path: `${base}/calls?${new URLSearchParams(query)}` });
  return [
    list('newest', {}),
    list('page at the far end', { cursor: old }),
    list('of a common state', { state: 'completed' }),
    list('of a rare state', { state: 'cancelled' }),
    { what: 'calls, of two rare states', path: `${base}/calls?state=needs_attention&state=waiting_for_recording` },
    list('of a rare source', { source: 'upload' }),
    list('of a rare source and state', { source: 'upload', state: 'failed' }),
    list('of a month', { startedFrom: daysAgo(400), startedTo: daysAgo(370) }),
    list('of a state in a month', { state: 'given_up', startedFrom: daysAgo(400), startedTo: daysAgo(370) }),
    list('text: queue', { text: 'enterprise' }),
    list('text: agent', { text: one.agent_name ?? 'Agent 001' }),
    list('text: queue, of a rare state', { text: one.queue_name ?? 'Billing', state: 'cancelled' }),
    list('text: queue, of a rare source', { text: 'billing', source: 'upload' }),
    list('text: whole number', { text: `+${one.origin_number}` }),
    list("text: a number's end", { text: (one.origin_number ?? '').slice(-7) }),
    list('text: a hotline that many called', { text: '+99910000012' }),
    list('text: call ID', { text: one.call_id }),
    list('text: beginning of an ID', { text: one.call_id.slice(0, 8) }),
    list('text: nothing', { text: 'no such name' }),
    { what: 'a call', path: `${base}/calls/${one.call_id}` },
    { what: "a call's analysis", path: `${base}/calls/${one.call_id}/analysis` },
    ...(['day', 'step', 'model'] as const).map((by) => ({ what: `costs of a year by ${by}`, path: `${base}/costs?by=${by}&from=${daysAgo(364).slice(0, 10)}&to=${today}` })),
    { what: 'costs of a month by call', path: `${base}/costs?by=call&from=${daysAgo(30).slice(0, 10)}&to=${today}` },
    { what: 'runs', path: `${base}/runs` },
    { what: 'a run', path: `${base}/runs/${encodeURIComponent(run.id)}` },
    { what: 'audit log', path: `${base}/audit` },
    { what: 'audit log of a call', path: `${base}/audit?target=call-77` },
    { what: 'members', path: `${base}/members` },
    { what: 'settings', path: `${base}/settings` },
  ];
};

/** A token that reads a project. */
export const tokenFor = async (db: Database, project: string): Promise<string> => {
  const token = `bench-${project}-${Math.random().toString(36).slice(2)}`;
  await createApiTokens(db).create({ id: token, project, name: 'bench', role: 'project_admin', hash: hashSecret(token), createdBy: 'bench' });
  return token;
};

/** Reads once and keeps what was asked of the database meanwhile. Nobody else may ask it anything. */
export const statementsOf = async (read: () => Promise<void>): Promise<{ text: string; values: unknown[] }[]> => {
  const asked: { text: string; values: unknown[] }[] = [];
  const original = pg.Client.prototype.query as (...given: unknown[]) => unknown;
  const recording = function (this: pg.Client, ...given: unknown[]): unknown {
    if (typeof given[0] === 'string' && /^\s*\(?(select|with)/i.test(given[0])) asked.push({ text: given[0], values: (given[1] as unknown[] | undefined) ?? [] });
    return original.apply(this, given);
  };
  pg.Client.prototype.query = recording as never;
  try {
    await read();
  } finally {
    pg.Client.prototype.query = original as never;
  }
  return asked.filter(({ text }) => !text.includes('set_config'));
};

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  Plans?: PlanNode[];
}

/** The plan as it was really carried out, under the role and the scope that requests have. */
export const planOf = async (client: pg.Client, project: string, { text, values }: { text: string; values: unknown[] }): Promise<Plan> => {
  await client.query("select set_config('role', 'aftercall_app', false), set_config('app.project', $1, false)", [project]);
  const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(`explain (analyze, format json) ${text}`, values);
  const scanned: string[] = [];
  const walk = (node: PlanNode): void => {
    if (node['Node Type'] === 'Seq Scan' && node['Relation Name']) scanned.push(node['Relation Name']);
    node.Plans?.forEach(walk);
  };
  walk(rows[0]!['QUERY PLAN'][0].Plan);
  const shown = await client.query<{ 'QUERY PLAN': string }>(`explain (analyze, costs off, timing off, summary on) ${text}`, values);
  return { statement: text, scanned, text: shown.rows.map((row) => row['QUERY PLAN']).join('\n') };
};

/** How long reads take, one after the other, in ms. @throws when one is not answered with 200 */
export const timesOf = async (read: () => Promise<Response>, times: number): Promise<number[]> => {
  const taken: number[] = [];
  for (let index = 0; index < times; index += 1) {
    const began = performance.now();
    const response = await read();
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`${response.url} was answered with ${response.status}.`);
    taken.push(performance.now() - began);
  }
  return taken.toSorted((a, b) => a - b);
};

/** A database that has been in use for long has been vacuumed. */
export const settleDown = (db: Database): Promise<unknown> => asOwner(() => sql`vacuum analyze`.execute(db));
