import { type Logger as TemporalLogger, type LogLevel, type LogMetadata } from '@temporalio/worker';
import pino, { type Logger } from 'pino';
import type { Config } from '../config.ts';

export type Log = Logger;

/** Where secrets and customers' words could stand in a log line's fields. Database errors carry the values of their query. */
const REDACTED = ['*.authorization', '*.apiKey', '*.token', '*.secret', '*.password', '*.transcript', '*.quote', 'authorization', 'url', 'err.params', 'err.detail'];

/** The process's logger: JSON lines to a file descriptor or a file, standard output by default. */
export const createLog = (config: Pick<Config, 'LOG_LEVEL'>, name: string, destination: 1 | 2 | string = 1): Log =>
  pino({ level: config.LOG_LEVEL, name, redact: { paths: REDACTED, censor: '[redacted]' } }, pino.destination(destination));

/** Temporal hands over a message and then its fields; pino takes them the other way round. */
export const temporalLogger = (log: Log): TemporalLogger => {
  const at =
    (level: 'trace' | 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, { error, ...meta }: LogMetadata = {}): void =>
      // As `err`, an error says what it is and not all that hangs on it.
      log[level]({ ...(error === undefined ? {} : { err: error as Error }), ...(Object.keys(meta).length > 0 ? { temporal: meta } : {}) }, message);
  return {
    log: (level: LogLevel, message: string, meta?: LogMetadata): void => at(level.toLowerCase() as 'info')(message, meta),
    trace: at('trace'),
    debug: at('debug'),
    info: at('debug'),
    warn: at('warn'),
    error: at('error'),
  };
};
