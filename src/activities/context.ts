import { Context } from '@temporalio/activity';

/**
 * The running activity's cancellation signal: to be passed to every request, so that a cancelled, timed
 * out or shut down activity stops sending.
 */
export const signal = (): AbortSignal => Context.current().cancellationSignal;
