import { type Config, type System, SYSTEMS } from '../../config.ts';
import type { Connectors } from '../../db/connectors.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { isGivenSource } from '../../domain/given.ts';
import { DEFAULT_PROJECT } from '../../domain/ids.ts';
import { createBuckets } from '../buckets.ts';
import type { Crm } from '../crm/crm.ts';
import { guardOf } from '../http/guard.ts';
import type { CallNotes } from '../notes/notes.ts';
import type { CallSource } from '../sources/source.ts';
import type { WriteEvent } from '../tracking/log.ts';
import { type Connected, connect } from './registry.ts';
import { configWith } from './settings.ts';

/** Adapters by name. */
export interface Made<T> {
  /** @throws CONFIG_INVALID for what the project has not connected, naming what it has */
  get(name: string): T;
  find(name: string): T | undefined;
}

/** All that a project is connected to. */
export interface ProjectAdapters {
  sources: Made<CallSource>;
  callNotes: Made<CallNotes>;
  /** Absent where none is connected. */
  crm?: Crm;
  /** Absent where nobody places calls for the project. */
  voice?: NonNullable<Connected['voice']>;
  /** Absent where nobody wants tracking events. */
  tracking?: NonNullable<Connected['tracking']>;
  systems: Made<Connected>;
}

/**
 * What a project is connected to as it stands now.
 *
 * Cheap to ask: adapters are made once per change of their connector, so that what they keep (sessions, rate
 * limits) lasts, and a change takes effect in every process at the next step.
 */
export type AdaptersOf = (project: string) => Promise<ProjectAdapters>;

export interface AdaptersDependencies {
  config: Config;
  connectors: Pick<Connectors, 'revisions' | 'find'>;
  credentials: Credentials;
  /** The source of calls that are handed in to a project. */
  givenSource: (project: string, name: string) => CallSource;
  writeEvent: WriteEvent;
}

const NAMES = Object.keys(SYSTEMS) as System[];
/** Of what the installation's settings connect: it does not change while the process runs. */
const INSTALLED = 'installation';

/** Under which name the rotating token of a project's connector is kept. Names of systems alone are the installation's. */
export const tokenNameOf = (project: string, system: string): string => `${system}/${project}`;

export const createAdaptersOf = ({ config, connectors, credentials, givenSource, writeEvent }: AdaptersDependencies): AdaptersOf => {
  const buckets = createBuckets();
  const guard = guardOf(config);
  const made = new Map<string, { revision: string; connected: Promise<Connected | undefined> }>();

  const make = async (project: string, system: System, revision: string): Promise<Connected | undefined> => {
    const shared = { project, credentials, buckets, writeEvent };
    if (revision === INSTALLED) return connect(system, { ...shared, config, tokenName: system });
    const connector = await connectors.find(project, system);
    // Taken away since it was listed.
    return connector && connect(system, { ...shared, config: configWith(config, system, connector), tokenName: tokenNameOf(project, system), guard });
  };

  const connectedOf = (project: string, system: System, revision: string): Promise<Connected | undefined> => {
    const key = `${project}/${system}`;
    const found = made.get(key);
    if (found?.revision === revision) return found.connected;
    const connected = make(project, system, revision);
    made.set(key, { revision, connected });
    // What could not be made now may be made the next time.
    connected.catch(() => made.get(key)?.connected === connected && made.delete(key));
    return connected;
  };

  return async (project) => {
    const revisions = await connectors.revisions(project);
    const systems = new Map<string, Connected>();
    for (const system of NAMES) {
      const revision = revisions.get(system) ?? (project === DEFAULT_PROJECT ? INSTALLED : undefined);
      const connected = revision === undefined ? undefined : await connectedOf(project, system, revision);
      if (connected) systems.set(system, connected);
    }
    const madeOf = <T>(what: string, pick: (connected: Connected) => T | undefined, more: (name: string) => T | undefined = () => undefined): Made<T> => {
      const find = (name: string): T | undefined => more(name) ?? (systems.has(name) ? pick(systems.get(name)!) : undefined);
      return {
        find,
        get(name) {
          const found = find(name);
          if (found !== undefined) return found;
          const there = [...systems].filter(([, connected]) => pick(connected) !== undefined).map(([each]) => each);
          throw new AftercallError('CONFIG_INVALID', `There is no ${what} "${name}" in the settings of project ${project}.`, {
            advice: there.length > 0 ? `Connect it, or use one of: ${there.join(', ')}.` : 'Connect it.',
            outcome: 'refused',
          });
        },
      };
    };
    const crm = [...systems.values()].find((connected) => connected.crm)?.crm;
    const voice = [...systems.values()].find((connected) => connected.voice)?.voice;
    const tracking = systems.get('tracking')?.tracking;
    return {
      sources: madeOf('call source', ({ source }) => source, (name) => (isGivenSource(name) ? givenSource(project, name) : undefined)),
      callNotes: madeOf('CRM for notes', ({ notes }) => notes),
      systems: madeOf('system', (connected) => connected),
      ...(crm ? { crm } : {}),
      ...(voice ? { voice } : {}),
      ...(tracking ? { tracking } : {}),
    };
  };
};
