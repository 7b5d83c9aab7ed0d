import type { Messages } from '../db/messages.ts';
import { inProject } from '../db/scope.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { MessagesClient } from './messages.ts';

/** A try takes a minute at most; one that waits for its next has a workflow that says so. */
const SILENT_MS = 60 * 60_000;
const AT_ONCE = 5_000;

/**
 * Takes up messages that nobody carries any more, since their workflow was ended in Temporal, and forgets old ones.
 *
 * Taken up, one that was being sent becomes `unknown` where a repeat could not be told from the first.
 */
export const createMessageSweep =
  ({ messages, client, keepMs, log }: { messages: Pick<Messages, 'listSilentSince' | 'sweep'>; client: MessagesClient; keepMs: number; log: Pick<Log, 'warn'> }) =>
  async (nowMs = Date.now()): Promise<{ takenUp: number; forgotten: number }> => {
    let takenUp = 0;
    for (const row of await messages.listSilentSince(new Date(nowMs - SILENT_MS), AT_ONCE)) {
      try {
        if (await inProject(row.project, () => client.takeUp(row))) takenUp += 1;
      } catch (error) {
        log.warn({ project: row.project, messageId: row.id, error: messageOf(error) }, 'a message that nobody carries cannot be taken up, will be tried again');
      }
    }
    return { takenUp, forgotten: await messages.sweep(new Date(nowMs - keepMs)) };
  };
