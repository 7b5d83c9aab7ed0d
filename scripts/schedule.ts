import { parseArgs } from 'node:util';
import type { Client } from '@temporalio/client';
import { POLLED } from '../src/adapters/connectors/registry.ts';
import { createScheduleOf, createSchedules, type Schedules, type ScheduleView } from '../src/client/schedules.ts';
import { connectTemporal } from '../src/client/temporal.ts';
import { type Config, loadConfig, paceOf, projectSettings, type System, withSystem } from '../src/config.ts';
import { createKeyRing } from '../src/crypto/key-ring.ts';
import { dataConverter } from '../src/crypto/payload-codec.ts';
import { createConnectors } from '../src/db/connectors.ts';
import { openDatabase } from '../src/db/database.ts';
import { createProjects } from '../src/db/projects.ts';
import { DEFAULT_PROJECT } from '../src/domain/ids.ts';
import { orUsage, runProgram, UsageError } from '../src/program.ts';
import { localEnvironment } from './local-environment.ts';
import { say } from './programs/find.ts';

const HELP = `Usage: npm run schedule -- <verb> [options]

  apply                          create the schedule, or bring it in line with the settings
  describe                       how it stands, its next and its last runs
  pause    [--note TEXT]         stop reading windows
  resume   [--note TEXT]
  trigger                        read a window now
  backfill --from T --to T       read every window that was due between two times (ISO 8601, with zone)

  --project ID                   of which project                         (default)
  --source NAME                  whose windows: webex or amocrm           (webex)
  --json                         for machines, e.g. {"id":"…","did":"paused"}
  --data DIR                     the folder of a running \`npm start\`, when nothing else is configured (.aftercall)`;

const readArguments = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      note: { type: 'string', default: 'by hand' },
      from: { type: 'string' },
      to: { type: 'string' },
      project: { type: 'string', default: DEFAULT_PROJECT },
      source: { type: 'string', default: 'webex' },
      json: { type: 'boolean', default: false },
      data: { type: 'string', default: '.aftercall' },
      help: { type: 'boolean', default: false },
    },
  });
type Arguments = ReturnType<typeof readArguments>['values'];

const time = (name: string, text = ''): Date => {
  // Without a zone it would mean something else on every machine.
  const [, day] = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const at = new Date(text);
  // 30 February would be taken for 2 March.
  if (!day || Number.isNaN(at.getTime()) || new Date(day).toISOString().slice(0, 10) !== day) {
    throw new UsageError(`--${name} needs a time with its zone, e.g. 2026-11-20T08:00:00Z${text ? `, not "${text}"` : ''}.`);
  }
  return at;
};

const span = (ms: number): string => (ms % 3_600_000 === 0 ? `${ms / 3_600_000} h` : ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1_000} s`);

const show = (view: ScheduleView): string =>
  [
    `${view.id}: ${view.paused ? `paused (${view.note ?? 'no note'})` : 'active'}, ${view.spec}`,
    `when one is running: ${view.overlap}; windows missed up to ${span(view.catchupWindowMs)} ago are made up for`,
    `missed ${view.missed}, skipped ${view.skipped}, running ${view.buffered}`,
    'next:',
    ...view.nextRuns.slice(0, 3).map((at) => `  ${at}`),
    'last:',
    ...view.recentRuns.slice(-5).map((run) => `  ${run.scheduledAt}  ${run.workflowId}`),
  ].join('\n');

const main = async (): Promise<void> => {
  const { values, positionals } = orUsage(HELP, readArguments);
  const [verb, ...more] = positionals;
  if (values.help || !verb) {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  if (more.length > 0) throw new UsageError(`One thing at a time: "${verb}" takes no "${more.join(' ')}". Try --help.`);
  const act = actionOf(verb, values);
  const source = POLLED.find((name) => name === values.source);
  if (!source) throw new UsageError(`There is no source "${values.source}". Use one of: ${POLLED.join(', ')}.`);
  const config = loadConfig(await localEnvironment(values.data));
  // Connectors of projects are in the database; the embedded one is open in another program.
  const knowsConnectors = verb === 'apply' && !config.DATABASE_URL.startsWith('pglite:');
  if (values.project !== DEFAULT_PROJECT && verb === 'apply' && !knowsConnectors) throw new UsageError(`The timetable of project ${values.project} is in the embedded database: apply it by POST /v1/projects/${values.project}/schedules/${source}/apply.`);
  if (values.project === DEFAULT_PROJECT && !knowsConnectors && !withSystem(config, source)) throw new UsageError(`${source} is not in the settings: set ${source === 'amocrm' ? 'AMOCRM_BASE_URL' : 'WEBEX_BASE_URL'} and what goes with it.`);
  say(`Temporal at ${config.TEMPORAL_ADDRESS}, namespace ${config.TEMPORAL_NAMESPACE}`);
  const client = await connectTemporal(config, dataConverter(createKeyRing(config.AFTERCALL_KEYS)));
  try {
    const place = { client, config, project: values.project, source };
    const schedules = knowsConnectors ? await withConnector(place) : createSchedules({ ...place, pace: paceOf(config), minutesBack: config.MINUTES_BACK });
    const said = await act(schedules);
    process.stdout.write(`${values.json ? JSON.stringify(said) : 'did' in said ? `${said.id} ${said.did}` : show(said)}\n`);
  } finally {
    await client.connection.close();
  }
};

/** The schedule with the timetable of the project's connector, if it has one. */
const withConnector = async ({ client, config, project, source }: { client: Client; config: Config; project: string; source: System }): Promise<Schedules> => {
  const db = await openDatabase(config.DATABASE_URL);
  try {
    const connectors = createConnectors(db, createKeyRing(config.AFTERCALL_KEYS));
    return await createScheduleOf({ client, config, pace: paceOf(config), connectors, projects: createProjects(db, { [DEFAULT_PROJECT]: projectSettings(config) }) })(project, source);
  } finally {
    await db.destroy();
  }
};

type Outcome = { id: string; did: string } | ScheduleView;

/** What a verb does. Checked before anything is connected to. @throws UsageError */
const actionOf = (verb: string, values: Arguments): ((schedules: Schedules) => Promise<Outcome>) => {
  const doing = (act: (schedules: Schedules) => Promise<string>) => async (schedules: Schedules) => ({ id: schedules.id, did: await act(schedules) });
  switch (verb) {
    case 'apply':
      return doing((schedules) => schedules.apply());
    case 'describe':
      return (schedules) => schedules.describe();
    case 'pause':
      return doing((schedules) => schedules.pause(values.note).then(() => 'paused'));
    case 'resume':
      return doing((schedules) => schedules.resume(values.note).then(() => 'active'));
    case 'trigger':
      return doing((schedules) => schedules.trigger().then(() => 'triggered'));
    case 'backfill': {
      const from = time('from', values.from);
      const to = time('to', values.to);
      if (from >= to) throw new UsageError('--from has to lie before --to.');
      return doing((schedules) => schedules.backfill(from, to).then(() => `backfilling ${from.toISOString()} to ${to.toISOString()}`));
    }
    default:
      throw new UsageError(`There is no "${verb}". Try --help.`);
  }
};

runProgram(main, { hint: 'Set them, or name the folder of a running `npm start` with --data.' });
