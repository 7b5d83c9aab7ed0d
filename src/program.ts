import { ConfigError } from './config.ts';
import { isAftercallError, messageOf } from './domain/errors.ts';

/** The command line was wrong. */
export class UsageError extends Error {}

/** Reads a command line. @throws UsageError with the help behind what is wrong */
export const orUsage = <T>(help: string, read: () => T): T => {
  try {
    return read();
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${help}`, { cause: error });
  }
};

/** What a program says when it ends by an error, and its exit code: 2 when whoever started it has to change something. */
export const programFailure = (error: unknown): { text: string; exitCode: 1 | 2 } => {
  if (error instanceof ConfigError || error instanceof UsageError) return { text: error.message, exitCode: 2 };
  if (isAftercallError(error)) return { text: `${error.message} ${error.advice}`, exitCode: error.code === 'CONFIG_INVALID' ? 2 : 1 };
  // A plain Error was thrown on purpose and says what to do; any other is a defect, whose place matters.
  return { text: error instanceof Error && error.name !== 'Error' ? (error.stack ?? error.message) : messageOf(error), exitCode: 1 };
};

/**
 * Runs a program to its end and exits: the Temporal SDK's native threads must not keep it alive.
 *
 * @param hint what to add for whoever has settings missing
 */
export const runProgram = (main: () => Promise<void>, { hint }: { hint?: string } = {}): void =>
  void main().then(
    () => process.exit(0),
    (error: unknown) => {
      const { text, exitCode } = programFailure(error);
      process.stderr.write(`${text}\n${hint && error instanceof ConfigError ? `${hint}\n` : ''}`);
      process.exit(exitCode);
    },
  );
