import type { NotifierName } from '../adapters/notify/notifier.ts';
import type { Notifiers } from '../adapters/notify/registry.ts';
import type { MessagesClient } from '../client/messages.ts';
import type { Calls } from '../db/calls.ts';
import type { Effects } from '../db/effects.ts';
import type { Messages, Subject } from '../db/messages.ts';
import type { Projects } from '../db/projects.ts';
import type { Publications } from '../db/publications.ts';
import { callNeedsAttention, callPublished, completenessGap, type Content, isLow, lowScore, type PublishedCall, runCompleted } from '../domain/announcements.ts';
import type { Attention, CallVersion } from '../domain/call.ts';
import type { DayCounts, DayKey } from '../domain/completeness.ts';
import type { ExecutionReport } from '../domain/report.ts';
import type { EffectiveAnalysis } from '../domain/review.ts';
import { type CallNotesFor, putCallNote } from './call-note.ts';
import type { TargetsOf } from './messages.ts';

interface Dependencies {
  calls: Calls;
  effects: Effects;
  messages: Messages;
  publications: Publications;
  projects: Projects;
  notifiers: Notifiers;
  targetsOf: TargetsOf;
  callNotesFor: CallNotesFor;
  messagesClient: MessagesClient;
  /** A link to the call's report for people without an account, good for a while. */
  reportLink: (call: { project: string; callId: string }) => string;
}

export interface PublishCall {
  call: CallVersion;
  /** The analysis that counts: the model's, or what a person made of it. */
  analysis: EffectiveAnalysis | null;
  signal: AbortSignal;
}

/**
 * What the world is told of calls and runs: the note in the CRM, messages to people's chats, events to programs.
 *
 * Everything here may be repeated: notes and messages are found again by keys of deterministic data. Messages are
 * written down and carried by workflows of their own, so no outage of theirs holds up whoever publishes.
 */
export const createPublishing = ({ calls, effects, messages, publications, projects, notifiers, targetsOf, callNotesFor, messagesClient, reportLink }: Dependencies) => {
  const publishedCall = async ({ call, analysis }: Pick<PublishCall, 'call' | 'analysis'>): Promise<PublishedCall> => {
    const [{ details }, { crm, result }] = await Promise.all([calls.get(call), calls.getVersion(call)]);
    return { call, details, analysis, crm, result, reportUrl: reportLink(call) };
  };

  interface Announcement {
    subject: Subject;
    /** Once for each time that it happens: deterministic. */
    occasion: string;
    content: Content;
    correctable?: boolean;
  }

  /** Writes a message down and has it carried. */
  const tell = async (notifier: NotifierName, target: { shown: string; key: string }, { subject, occasion, content, correctable = false }: Announcement): Promise<void> => {
    const row = await messages.add({ ...subject, occasion, content, event: content.event, notifier, target: target.shown, targetKey: target.key, class: notifiers[notifier].class }, { correctable });
    if (row.state === 'pending') await messagesClient.send(row);
  };

  const tellPrograms = async (announcement: Announcement): Promise<void> => {
    const { webhook } = await targetsOf(announcement.subject.project);
    if (webhook) await tell('webhook', { shown: new URL(webhook.url).host, key: '' }, announcement);
  };

  const tellChat = async (chat: string, announcement: Announcement): Promise<void> => {
    if (chat === '') return;
    const { telegram } = await targetsOf(announcement.subject.project);
    if (telegram) await tell('telegram', { shown: chat, key: chat }, announcement);
  };

  /**
   * A score that falls below the threshold is told once for each fall: not again by a run that finds it low as before.
   * When it rises, or is low by another number, the message about the last fall is corrected.
   */
  const tellOfScore = async (published: PublishedCall, result: { lowScoreThreshold: number; alertsChat: string }): Promise<void> => {
    const scorePercent = published.analysis?.grading.total_score_percent ?? null;
    const { low, drops } = await publications.note(published.call, { low: isLow(scorePercent, result.lowScoreThreshold), scorePercent });
    if (drops === 0) return;
    const { call } = published;
    const announcement = { subject: call, occasion: `call.low_score/${call.callId}/${drops}`, content: lowScore(published, result.lowScoreThreshold) };
    await tellChat(result.alertsChat, { ...announcement, correctable: true });
    if (low) await tellPrograms(announcement);
  };

  return {
    /**
     * Notes a call's score in the CRM.
     *
     * @throws what the CRM says: a call that cannot be noted waits for a person
     */
    async noteCall({ signal, ...asked }: PublishCall): Promise<void> {
      const { crmNotes } = await projects.settings(asked.call.project);
      if (crmNotes) await putCallNote({ effects, callNotesFor }, await publishedCall(asked), signal);
    },

    /** Tells of a call that has gone its whole way, once per version. */
    async announceCall(asked: Omit<PublishCall, 'signal'>): Promise<void> {
      const published = await publishedCall(asked);
      const { call } = asked;
      await tellPrograms({ subject: call, occasion: `call.completed/${call.callId}/${call.version}`, content: callPublished('call.completed', published) });
      if (asked.analysis) await tellOfScore(published, await projects.settings(call.project));
    },

    /**
     * Publishes the newest version of a call again after a person corrected its score: the same note and the same
     * message are changed.
     *
     * @param correction deterministic, one for each correction: repeating it tells programs once
     */
    async publishAgain({ call, analysis, correction, signal }: PublishCall & { correction: string }): Promise<void> {
      await this.noteCall({ call, analysis, signal });
      const published = await publishedCall({ call, analysis });
      await tellPrograms({ subject: call, occasion: `call.corrected/${call.callId}/${correction}`, content: callPublished('call.corrected', published) });
      await tellOfScore(published, await projects.settings(call.project));
    },

    /** Tells programs that a call waits for a person. */
    async announceAttention({ call, attention }: { call: CallVersion; attention: Attention }): Promise<void> {
      await tellPrograms({ subject: call, occasion: `call.needs_attention/${call.callId}/${call.version}/${attention.step}/${attention.sinceMs}`, content: callNeedsAttention(call, attention) });
    },

    /** Tells of a day whose calls do not add up, once for each time that their number is another. */
    async announceGaps(key: DayKey, counts: DayCounts): Promise<void> {
      const notTakenIn = counts.gaps.not_taken_in ?? 0;
      if (counts.unexplained + notTakenIn === 0) return;
      const { project, source, day } = key;
      const announcement = { subject: { project }, occasion: `completeness.gap/${source}/${day}/${counts.unexplained}.${notTakenIn}`, content: completenessGap(key, counts) };
      await tellPrograms(announcement);
      await tellChat((await projects.settings(project)).alertsChat, announcement);
    },

    /** Tells of a run whose report is written. People hear of it only if it found something new. */
    async announceRun(report: ExecutionReport): Promise<void> {
      const { project, runId } = report;
      const announcement = { subject: { project, runId }, occasion: `run.completed/${runId}`, content: runCompleted(report) };
      await tellPrograms(announcement);
      if (report.newTasks > 0) await tellChat((await projects.settings(project)).runsChat, announcement);
    },
  };
};

export type Publishing = ReturnType<typeof createPublishing>;
