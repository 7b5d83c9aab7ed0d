import { z } from 'zod';
import { tokenNameOf } from '../../adapters/connectors/of-project.ts';
import { POLLED } from '../../adapters/connectors/registry.ts';
import { checkSettings, masked } from '../../adapters/connectors/settings.ts';
import { type System, SYSTEMS } from '../../config.ts';
import type { Connector } from '../../db/connectors.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { DEFAULT_PROJECT } from '../../domain/ids.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Connectors';
const CONNECTORS = '/v1/projects/:project/connectors';
const CONNECTOR = `${CONNECTORS}/:kind`;
const CHECK_MS = 30_000;

const Kind = z.enum(Object.keys(SYSTEMS) as [System, ...System[]]);
const ConnectorParams = z.strictObject({ project: z.string().max(40), kind: Kind });
/** By the names of the installation's settings. A PEM key is the longest there is. */
const Settings = z.record(z.string().max(60), z.string().max(10_000)).refine((settings) => Object.keys(settings).length <= 40, 'must be at most 40 settings');

const ConnectorShape = z.object({
  kind: Kind,
  /** Where it is set: by the project, or in the installation's own settings. */
  from: z.enum(['project', 'installation']),
  settings: z.record(z.string(), z.string()),
  /** As `****abcd`. */
  secrets: z.record(z.string(), z.string()),
  updatedBy: z.string().nullable(),
  updatedAt: z.iso.datetime().nullable(),
});

/** The systems that a project has connected itself. */
export const connectorRoutes = (route: RouteTable, { connectors, credentials, adaptersOf, scheduleOf, projects, installed, kickVoiceLines }: ApiDependencies): void => {
  const viewOf = ({ kind, settings, secrets, updatedBy, updatedAt }: Connector) => ({
    kind: kind as System,
    from: 'project' as const,
    settings,
    secrets: Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name, masked(secret)])),
    updatedBy,
    updatedAt: updatedAt.toISOString(),
  });
  // What the installation has set is not the project's to read.
  const installedView = (kind: string) => ({ kind: kind as System, from: 'installation' as const, settings: {}, secrets: {}, updatedBy: null, updatedAt: null });
  const isInstalled = (project: string, kind: string): boolean => project === DEFAULT_PROJECT && installed.includes(kind);
  const missing = (project: string, kind: string): AftercallError => new AftercallError('NOT_FOUND', `Project ${project} has not connected ${kind}.`, { advice: 'Connect it with PUT.', outcome: 'refused' });
  const audited = (what: string) => ({ action: `connectors.${what}`, target: ({ params }: { params: { kind: string } }) => params.kind });

  route.get(CONNECTORS, { access: 'project_admin', summary: 'What the project is connected to', tag: TAG, params: ProjectParams, returns: z.object({ connectors: z.array(ConnectorShape) }) }, async ({ params: { project } }) => {
    await projects.settings(project);
    const own = await connectors.list(project);
    const others = installed.filter((kind) => isInstalled(project, kind) && !own.some((connector) => connector.kind === kind));
    return { connectors: [...own.map(viewOf), ...others.map(installedView)] };
  });

  route.get(CONNECTOR, { access: 'project_admin', summary: 'How a system is connected; secrets are masked', tag: TAG, params: ConnectorParams, returns: ConnectorShape }, async ({ params: { project, kind } }) => {
    const connector = await connectors.find(project, kind);
    if (connector) return viewOf(connector);
    if (isInstalled(project, kind)) return installedView(kind);
    throw missing(project, kind);
  });

  route.put(
    CONNECTOR,
    {
      access: 'project_admin',
      audit: { ...audited('save'), details: ({ settings }) => ({ settings: Object.keys(settings).toSorted() }) },
      summary: 'Connect a system, or change how. Secrets that are left out stay, unless an address changes. A source is read on a schedule from then on',
      tag: TAG,
      params: ConnectorParams,
      body: z.strictObject({ settings: Settings }),
      returns: ConnectorShape,
    },
    async ({ params: { project, kind }, body, principal }) => {
      // Read before the transaction begins: an embedded database has one connection.
      const { minutesBack, timeZone } = await projects.settings(project);
      let before: Connector | undefined;
      const saved = await connectors.save(
        project,
        kind,
        (current) => {
          before = current;
          const checked = checkSettings(kind, body.settings, current);
          if ('problems' in checked) throw new HttpProblem(400, `${kind} cannot be connected like this.`, { errors: checked.problems.map(({ name, problem }) => ({ path: name, message: `${name} ${problem}` })) });
          return { ...checked.kept, webhookSecret: kind === 'amocrm' ? checked.kept.secrets['AMOCRM_WEBHOOK_SECRET'] : undefined, by: principal.name };
        },
        async (connector) => {
          if (POLLED.includes(kind)) await (await scheduleOf(project, kind, { connector, minutesBack, timeZone })).apply().catch(asProblem);
        },
      );
      // A token of the old address is of no use at the new one, and none of its business.
      if (before && Object.keys({ ...before.settings, ...saved.settings }).some((name) => name.endsWith('_URL') && before!.settings[name] !== saved.settings[name])) await credentials.forget(tokenNameOf(project, kind));
      // Calls may wait for nothing else.
      if (kind === 'retell') kickVoiceLines(project);
      return viewOf(saved);
    },
  );

  route.delete(CONNECTOR, { access: 'project_admin', audit: audited('remove'), summary: 'Disconnect a system. Its schedule goes with it; calls stay', tag: TAG, params: ConnectorParams, returns: z.object({ done: z.literal(true) }) }, async ({ params: { project, kind } }) => {
    const connector = await connectors.find(project, kind);
    if (!connector) throw missing(project, kind);
    // One that the installation's settings put in its place goes on as those say.
    const follow = async (): Promise<void> => {
      if (POLLED.includes(kind) && !isInstalled(project, kind)) await (await scheduleOf(project, kind, { connector, minutesBack: 1, timeZone: 'UTC' })).remove();
    };
    await connectors.remove(project, kind, follow);
    if (POLLED.includes(kind) && isInstalled(project, kind)) await (await scheduleOf(project, kind)).apply();
    await credentials.forget(tokenNameOf(project, kind));
    return { done: true as const };
  });

  route.post(
    `${CONNECTOR}/check`,
    { access: 'project_admin', audit: audited('check'), summary: 'Sign in and read one thing; writes nothing', tag: TAG, params: ConnectorParams, body: z.strictObject({}), returns: z.object({ ok: z.boolean(), what: z.string(), advice: z.string().nullable() }) },
    async ({ params: { project, kind } }) => {
      const connected = (await adaptersOf(project)).systems.find(kind);
      if (!connected) throw missing(project, kind);
      try {
        return { ok: true, what: await connected.check(AbortSignal.timeout(CHECK_MS)), advice: null };
      } catch (error) {
        if (isAftercallError(error)) return { ok: false, what: error.message, advice: error.advice };
        if ((error as Error).name === 'TimeoutError') return { ok: false, what: `${kind} did not answer within ${CHECK_MS / 1_000} s.`, advice: 'Check its address and that it is up.' };
        throw error;
      }
    },
  );
};

/** A timetable that Temporal does not take is the caller's to mend. */
const asProblem = (error: unknown): never => {
  if (isAftercallError(error) && error.code === 'CONFIG_INVALID') throw new HttpProblem(400, `${error.message} ${error.advice}`);
  throw error;
};
