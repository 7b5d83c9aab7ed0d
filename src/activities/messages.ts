import type { Notifier, NotifierName, Targets } from '../adapters/notify/notifier.ts';
import type { Notifiers } from '../adapters/notify/registry.ts';
import type { MessageRow, Messages } from '../db/messages.ts';
import type { MessageActivities } from '../domain/activities.ts';
import { AftercallError, isAftercallError } from '../domain/errors.ts';
import { signal } from './context.ts';

/** What leads a project's messages out, secrets included; what is absent is not used. */
export type TargetsOf = (project: string) => Promise<{ telegram?: { botToken: string }; webhook?: Targets['webhook'] }>;

interface Dependencies {
  messages: Messages;
  notifiers: Notifiers;
  targetsOf: TargetsOf;
  log: { warn(fields: object, message: string): void };
}

export const createMessageActivities = ({ messages, notifiers, targetsOf, log }: Dependencies): MessageActivities => {
  /** @throws CONFIG_INVALID where the project does not use the notifier any more */
  const targetOf = async ({ project, notifier, target }: MessageRow): Promise<Targets[NotifierName]> => {
    const targets = await targetsOf(project);
    if (notifier === 'telegram' && targets.telegram) return { ...targets.telegram, chatId: target };
    if (notifier === 'webhook' && targets.webhook) return targets.webhook;
    throw new AftercallError('CONFIG_INVALID', `The message was not sent: the project has no ${notifier} any more.`, { advice: 'Set it up again and send the message again, or settle it.', outcome: 'refused' });
  };

  return {
    /**
     * One try to bring a message to its target.
     *
     * Written down as being sent before it is, and how it ended after: see `Messages.begin` for what becomes of one
     * whose worker died in between.
     * @throws what may be tried again
     */
    async carryMessage({ project, messageId }) {
      const row = await messages.begin(project, messageId);
      if (row.state !== 'sending') return { state: row.state };
      try {
        const target = await targetOf(row);
        const notifier = notifiers[row.notifier as NotifierName] as Notifier;
        const ended =
          row.receipt && notifier.correct
            ? await notifier.correct(row.message, target, row.receipt, signal())
            : await notifier.deliver(row.message, target, signal());
        if (ended.outcome === 'delivered') {
          await messages.end(project, messageId, { state: 'delivered', outcome: 'delivered', receipt: ended.receipt });
          return { state: 'delivered' };
        }
        const state = ended.outcome === 'unknown' ? ('unknown' as const) : ('failed' as const);
        log.warn({ project, messageId, event: row.event, notifier: row.notifier, outcome: ended.outcome }, 'message not delivered');
        await messages.end(project, messageId, { state, outcome: ended.outcome, reason: ended.reason, advice: ended.advice });
        return { state };
      } catch (error) {
        if (!isAftercallError(error)) throw error;
        const { code, message: reason, advice, retryable } = error;
        await messages.end(project, messageId, { state: retryable ? 'pending' : 'failed', outcome: retryable ? 'retried' : 'failed', code, reason, advice });
        if (retryable) throw error;
        log.warn({ project, messageId, event: row.event, notifier: row.notifier, code }, 'message not delivered');
        return { state: 'failed' };
      }
    },

    /** All tries are used up. */
    async abandonMessage({ project, messageId, reason }) {
      const row = await messages.get(project, messageId);
      if (row.state !== 'pending' && row.state !== 'sending') return;
      log.warn({ project, messageId, event: row.event, notifier: row.notifier, attempts: row.attempts }, 'message given up');
      const lost = row.state === 'sending' && row.class === 'no_key' && row.receipt === null;
      await messages.end(project, messageId, {
        state: lost ? 'unknown' : 'failed',
        outcome: lost ? 'unknown' : 'failed',
        reason: `Given up after ${row.attempts} ${row.attempts === 1 ? 'try' : 'tries'}: ${reason}`,
        advice: 'Send it again once the target is up.',
      });
    },
  };
};
