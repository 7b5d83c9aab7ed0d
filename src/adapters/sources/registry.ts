import type { Config } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { CallSource } from './source.ts';
import { createWebex } from './webex.ts';

/** Every source by its name. A new one is a file beside this and a line here. */
const SOURCES: Record<string, (dependencies: { config: Config; credentials: Credentials }) => CallSource> = {
  webex: createWebex,
};

export interface Sources {
  /** @throws CONFIG_INVALID naming the sources there are */
  get(name: string): CallSource;
}

export const createSources = (dependencies: { config: Config; credentials: Credentials }): Sources => {
  // One of each: they keep rate limits and tokens.
  const made = new Map(Object.entries(SOURCES).map(([name, create]) => [name, create(dependencies)]));
  return {
    get(name) {
      const source = made.get(name);
      if (!source) {
        throw new AftercallError('CONFIG_INVALID', `There is no call source "${name}".`, { advice: `Use one of: ${[...made.keys()].join(', ')}.` });
      }
      return source;
    },
  };
};
