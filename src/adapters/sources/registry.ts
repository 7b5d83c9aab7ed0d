import type { Config } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { AmoCrmSession } from '../amocrm/session.ts';
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
  amocrm: ({ config, amocrm }) => amocrm && createAmoCrm({ session: amocrm, timeoutMs: config.UPSTREAM_TIMEOUT }),
} satisfies Record<string, (dependencies: SourceDependencies) => CallSource | undefined>;

export const SOURCE_NAMES = Object.keys(SOURCES);

export interface Sources {
  /** @throws CONFIG_INVALID naming the sources there are */
  get(name: string): CallSource;
}

export const createSources = (dependencies: SourceDependencies): Sources => {
  // One of each: they keep rate limits and tokens.
  const made = new Map(Object.entries(SOURCES).flatMap(([name, create]) => {
    const source = create(dependencies);
    return source ? [[name, source] as const] : [];
  }));
  return {
    get(name) {
      const source = made.get(name);
      if (!source) {
        throw new AftercallError('CONFIG_INVALID', `There is no call source "${name}"${SOURCE_NAMES.includes(name) ? ' in the settings' : ''}.`, { advice: `Use one of: ${[...made.keys()].join(', ')}.` });
      }
      return source;
    },
  };
};
