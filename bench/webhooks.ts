import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { startDevServerProcess } from '../scripts/dev-server.ts';
import { freePort } from '../scripts/ports.ts';
import { say, temporalCli } from '../scripts/programs/index.ts';
import { openDatabase, migrate } from '../src/db/database.ts';
import { DEFAULT_PROJECT } from '../src/domain/ids.ts';
import { METADATA_PROJECT, METADATA_VOICE_CALL } from '../src/domain/voice.ts';
import { startPostgres } from '../test/support/postgres.ts';
import { percentile, type Sent, sendSteadily } from './open-loop.ts';
import { UNUSED_SYSTEMS } from './unused-systems.ts';

/**
 * Measures how fast Retell's webhooks are acknowledged, with Temporal stopped in the middle, and counts whether all
 * that were acknowledged came into effect: `npm run bench:webhooks -- [options]`.
 *
 * The API is a process of its own on a PostgreSQL that syncs its writes, with its relay delivering meanwhile. Events
 * are sent at a steady rate and measured from when each was due, first to an Express handler that does nothing, then
 * to the API. Everything shares the machine. No worker runs: what is measured is what the API does.
 */
const HELP = `Usage: npm run bench:webhooks -- [options]

  --rate N       events a second                                     (500)
  --seconds N    for how long                                        (60)
  --outage N     seconds for which Temporal is stopped, in the middle (30)
  --bare N       seconds for the handler that does nothing           (20)
  --minutes N    of talk whose words the events of an end carry      (1)
  --drain N      most seconds until all are delivered                (900)
  --help`;

const DEFAULTS = { rate: 500, seconds: 60, outage: 30, bare: 20, minutes: 1, drain: 900 };
type Option = keyof typeof DEFAULTS;

const readArguments = (): Record<Option, number> => {
  try {
    const names = Object.keys(DEFAULTS) as Option[];
    const { values } = parseArgs({ options: { help: { type: 'boolean' }, ...(Object.fromEntries(names.map((name) => [name, { type: 'string' }])) as Record<Option, { type: 'string' }>) } });
    if (values.help) {
      process.stdout.write(`${HELP}\n`);
      process.exit(0);
    }
    return Object.fromEntries(
      names.map((name) => {
        const value = Number(values[name] ?? DEFAULTS[name]);
        if (!(value >= 0) || (name === 'rate' && value === 0)) throw new Error(`--${name} is a number.`);
        return [name, value];
      }),
    ) as Record<Option, number>;
  } catch (error) {
    say(`${(error as Error).message}\n\n${HELP}`);
    process.exit(2);
  }
};

const options = readArguments();
const KEY = 'key_bench00000000000000000000000';
const EVENTS = ['call_started', 'call_ended', 'call_analyzed'] as const;
const WORDS_PER_MINUTE = 150;
const FROM_MS = Date.now() - 3_600_000;

const nowhere = 'http://127.0.0.1:1';
const folder = await mkdtemp(join(tmpdir(), 'aftercall-bench-'));
const children: ChildProcess[] = [];
const program = (file: string, args: string[], env: Record<string, string>): ChildProcess => {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url)), ...args], { env: { PATH: process.env['PATH'], ...env }, stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  return child;
};
const answers = async (url: string, method = 'GET'): Promise<void> => {
  for (let left = 600; left > 0; left -= 1) {
    if (await fetch(url, { method }).then((response) => response.status < 500, () => false)) return;
    await sleep(100);
  }
  throw new Error(`${url} does not answer.`);
};

const words = Array.from({ length: options.minutes * WORDS_PER_MINUTE }, (_, at) => ({ word: 'word ', start: at * 0.4, end: at * 0.4 + 0.35 }));
const talk = {
  transcript: `Agent: ${'word '.repeat(words.length)}\n`,
  transcript_object: [{ role: 'agent', content: 'word '.repeat(words.length), words }],
  transcript_with_tool_calls: [{ role: 'agent', content: 'word '.repeat(words.length), words }],
};
/** Which event of which call is sent when: a call's end comes a while after its start, and its analysis later still. */
const inOrder = (calls: number): { event: (typeof EVENTS)[number]; at: number }[] => {
  const apart = Math.ceil(calls / 6);
  return Array.from({ length: calls + 2 * apart }, (_, step) => EVENTS.map((event, turn) => ({ event, at: step - turn * apart })))
    .flat()
    .filter(({ at }) => at >= 0 && at < calls);
};
const bodyOf = ({ event, at }: { event: (typeof EVENTS)[number]; at: number }): Buffer => {
  const over = event !== 'call_started';
  return Buffer.from(
    JSON.stringify({
      event,
      call: {
        call_id: `call_${at}`,
        call_type: 'phone_call',
        agent_id: 'agent_bench',
        call_status: over ? 'ended' : 'ongoing',
        direction: 'outbound',
        from_number: '+15550100',
        to_number: '+15550101',
        metadata: { [METADATA_PROJECT]: DEFAULT_PROJECT, [METADATA_VOICE_CALL]: `vc_${at}` },
        start_timestamp: FROM_MS,
        ...(over ? { end_timestamp: FROM_MS + 61_000, duration_ms: 61_000, disconnection_reason: 'user_hangup', call_cost: { combined_cost: 12 }, ...talk } : {}),
        ...(event === 'call_analyzed' ? { call_analysis: { call_successful: true, in_voicemail: false, user_sentiment: 'Positive' } } : {}),
      },
    }),
  );
};
const signed = (body: Buffer): { headers: Record<string, string>; body: Buffer } => {
  const ms = String(Date.now());
  return { headers: { 'x-retell-signature': `v=${ms},d=${createHmac('sha256', KEY).update(body).update(ms).digest('hex')}` }, body };
};

const row = (what: string, sent: readonly Sent[]): string => {
  const taken = sent.filter(({ status }) => status >= 200 && status < 300);
  const at = (share: number): string => percentile(taken.map(({ tookMs }) => tookMs), share).toFixed(1);
  return `| ${what} | ${sent.length} | ${sent.length - taken.length} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`;
};

const postgres = await startPostgres({ own: true, durable: true });
const databaseUrl = await postgres.createDatabase();
const ports = { port: await freePort(), uiPort: await freePort(), metricsPort: await freePort() };
const startTemporal = async () => startDevServerProcess({ cliPath: await temporalCli(), dbFile: join(folder, 'temporal.db'), ...ports });
let temporal = await startTemporal();
const db = new pg.Client({ connectionString: databaseUrl });
try {
  const count = Math.floor((options.rate * options.seconds) / EVENTS.length) * EVENTS.length;
  const calls = count / EVENTS.length;
  const events = inOrder(calls);
  const schema = await openDatabase(databaseUrl);
  await migrate(schema);
  await schema.destroy();
  await db.connect();
  await db.query(
    `insert into voice_calls (project, id, state, priority, from_number, to_number, request, requested_by, dials, dialling_at)
     select $1, 'vc_' || at, 'dialling', 3, '+15550100', '+15550101', '{"from": "+15550100", "to": "+15550101", "variables": {}, "metadata": {}, "priority": 3}', 'bench', 1, $2
     from generate_series(0, $3::integer - 1) at`,
    [DEFAULT_PROJECT, new Date(FROM_MS - 10_000), calls],
  );

  const barePort = await freePort();
  program('./bare-handler.ts', [String(barePort)], {});
  const apiPort = await freePort();
  program('../src/api/main.ts', [], {
    TEMPORAL_ADDRESS: temporal.address,
    AFTERCALL_KEYS: `bench:${Buffer.alloc(32, 1).toString('base64')}`,
    DATABASE_URL: databaseUrl,
    OBJECTS_DIR: join(folder, 'objects'),
    API_PORT: String(apiPort),
    LOG_LEVEL: 'error',
    RETELL_API_KEY: KEY,
    // Nothing here is asked.
    RETELL_BASE_URL: nowhere,
    ...UNUSED_SYSTEMS,
  });
  await Promise.all([answers(`http://127.0.0.1:${barePort}/`, 'POST'), answers(`http://127.0.0.1:${apiPort}/readyz`)]);
  const sample = bodyOf({ event: 'call_ended', at: 0 });
  say(`${cpus().length} × ${cpus()[0]?.model.trim()}, load ${loadavg()[0]!.toFixed(1)}; ${options.rate} events a second, ${(sample.byteLength / 1_000).toFixed(0)} kB an event of an end`);

  // Connections and compiled code are there before either is measured.
  for (const url of [`http://127.0.0.1:${barePort}/`, `http://127.0.0.1:${apiPort}/webhooks/retell`]) {
    await sendSteadily({ url, perSecond: 100, count: 200, make: () => ({ headers: {}, body: sample }) });
  }
  const bare = await sendSteadily({ url: `http://127.0.0.1:${barePort}/`, perSecond: options.rate, count: options.rate * options.bare, make: () => signed(sample) });

  const outage = { fromMs: ((options.seconds - options.outage) / 2) * 1_000, toMs: ((options.seconds + options.outage) / 2) * 1_000 };
  let stopping: Promise<void> | undefined;
  let starting: Promise<void> | undefined;
  const startedAt = Date.now();
  const ours = await sendSteadily({
    url: `http://127.0.0.1:${apiPort}/webhooks/retell`,
    perSecond: options.rate,
    count,
    make: (index) => signed(bodyOf(events[index]!)),
    onDue: (dueMs) => {
      if (options.outage > 0 && dueMs >= outage.fromMs) stopping ??= temporal.kill();
      if (stopping && dueMs >= outage.toMs) starting ??= stopping.then(async () => void (temporal = await startTemporal()));
    },
  });
  await stopping;
  if (stopping) starting ??= startTemporal().then((again) => void (temporal = again));
  await starting;

  const acknowledged = ours.filter(({ status }) => status >= 200 && status < 300).length;
  const number = async (statement: string): Promise<number> => Number((await db.query<{ n: string }>(statement)).rows[0]?.n);
  const deadline = Date.now() + options.drain * 1_000;
  const left = () => number('select count(*) as n from inbox where delivered_at is null');
  while ((await left()) > 0 && Date.now() < deadline) await sleep(500);
  const tookS = (Date.now() - startedAt) / 1_000;

  const delivered = await number('select count(*) as n from inbox where delivered_at is not null');
  const undelivered = await left();
  const completed = await number("select count(*) as n from voice_calls where state = 'completed'");
  const told = await number('select count(*) as n from tracking_events');
  const outOfOrder = await number(`select count(*) as n from (select subject, array_agg(name order by seq) as names from tracking_events group by subject) told
    where names <> array['Voice call initiated', 'Call started', 'Call completed']`);
  const during = ({ dueMs }: Sent): boolean => options.outage > 0 && dueMs >= outage.fromMs && dueMs < outage.toMs;
  say(
    [
      '| | events | not acknowledged | p50 ms | p99 ms | most ms |\n|---|---|---|---|---|---|',
      row('a handler that does nothing', bare),
      row('Aftercall', ours),
      ...(options.outage > 0 ? [row('of these, while Temporal was stopped', ours.filter(during))] : []),
      '',
      `Acknowledged ${acknowledged}, delivered ${delivered}, not delivered ${undelivered}; all delivered ${tookS.toFixed(0)} s after the first was sent.`,
      `Voice calls ${calls}, completed ${completed}; tracking events ${told}, of calls whose events are not each there once and in order ${outOfOrder}.`,
    ].join('\n'),
  );
  const isWhole = delivered === acknowledged && undelivered === 0 && (acknowledged < count || (completed === calls && told === 3 * calls && outOfOrder === 0));
  say(isWhole ? 'None was lost.' : undelivered > 0 ? `${undelivered} still waited after --drain ${options.drain} s: give it longer to tell.` : 'SOMETHING WAS LOST.');
  process.exitCode = isWhole && acknowledged === count ? 0 : 1;
} finally {
  await db.end().catch(() => {});
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(children.map(async (child) => child.exitCode === null && child.signalCode === null && new Promise((resolve) => child.once('exit', resolve))));
  await temporal.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}
