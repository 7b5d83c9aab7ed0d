import { ConfigError } from './config.ts';
import { isAftercallError, messageOf } from './domain/errors.ts';

/** The command line was wrong. */
export class UsageError extends Error {}

/** What a program says when it ends by an error, and its exit code: 2 when whoever started it has to change something. */
export const programFailure = (error: unknown): { text: string; exitCode: 1 | 2 } => {
  if (error instanceof ConfigError || error instanceof UsageError) return { text: error.message, exitCode: 2 };
  if (isAftercallError(error)) return { text: `${error.message} ${error.advice}`, exitCode: error.code === 'CONFIG_INVALID' ? 2 : 1 };
  return { text: error instanceof Error ? (error.stack ?? error.message) : messageOf(error), exitCode: 1 };
};
