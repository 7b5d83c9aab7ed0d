import type { Config } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { type Made, makeAll } from '../registry.ts';
import type { AmoCrmSession } from '../amocrm/session.ts';
import { guardOf } from '../http/guard.ts';
import { createAmoCrm } from './amocrm.ts';
import type { CallSource } from './source.ts';
import { createWebex } from './webex.ts';

export interface SourceDependencies {
  config: Config;
  credentials: Credentials;
  /** Absent where the settings do not name an account. */
  amocrm?: AmoCrmSession | undefined;
}

/** Every source by its name; undefined where the settings leave it out. A new one is a file beside this and a line here. */
const SOURCES = {
  webex: createWebex,
  amocrm: ({ config, amocrm }) => amocrm && createAmoCrm({ session: amocrm, guard: guardOf(config), timeoutMs: config.UPSTREAM_TIMEOUT }),
} satisfies Record<string, (dependencies: SourceDependencies) => CallSource | undefined>;

export const SOURCE_NAMES = Object.keys(SOURCES);

/** Throws CONFIG_INVALID naming the sources there are. */
export type Sources = Made<CallSource>;

export const createSources = (dependencies: SourceDependencies): Sources =>
  makeAll<SourceDependencies, CallSource>(
    SOURCES,
    dependencies,
    (name, made) => new AftercallError('CONFIG_INVALID', `There is no call source "${name}"${SOURCE_NAMES.includes(name) ? ' in the settings' : ''}.`, { advice: `Use one of: ${made}.` }),
  );
