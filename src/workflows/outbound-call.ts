import { ActivityFailure, allHandlersFinished, ApplicationFailure, condition, continueAsNew, defineSignal, defineUpdate, isCancellation, setCurrentDetails, setHandler, workflowInfo } from '@temporalio/workflow';
import { type OutboundCallInput, VOICE_OBSERVED_SIGNAL } from '../domain/messages.ts';
import { ON_A_LINE, VOICE_ENDS, type VoiceState } from '../domain/voice.ts';
import { HAND_OVER_FAILED, type StopOutcome, type StopVoiceCall, VOICE_UPDATES, type VoiceResolution, type VoiceStanding } from '../domain/voice-work.ts';
import { reasonOf } from './failure.ts';
import { voiceActivities } from './proxies.ts';
import { refuse } from './refuse.ts';

const observedSignal = defineSignal(VOICE_OBSERVED_SIGNAL);
const stopUpdate = defineUpdate<StopOutcome, [StopVoiceCall]>(VOICE_UPDATES.stop);
const resolveUpdate = defineUpdate<void, [VoiceResolution]>(VOICE_UPDATES.resolve);

/** While a call waits for a person, the provider may still come to know of it; it is hardly news. */
const PARKED_LOOK_UP_MS = 24 * 3_600_000;

/** How long the word that a call is parked may take from the database to here. */
const PARKING_MS = 5_000;

const LOOK_FOR_IT =
  "Look in the provider's call history for the number and the time. If the call is there, resolve it with its ID. If it is not, have it dialled again or give it up. It settles by itself if the provider tells of it after all.";
const END_IT = 'Look for the call at the provider, and end it there if it still runs. Then look again here, or give it up.';

const STOPPED = 'It was stopped while it was dialled, and the provider had not taken it.';

/**
 * One outbound call, from the dial to its end.
 *
 * Whoever learns something of the call writes it to the database, and this workflow reads it there: it dials, looks up
 * what nobody tells, and waits. Whether the provider may be asked to dial is decided by the row in the database and
 * never here, so that no second run of it can ring anybody twice.
 *
 * @returns the state that it leaves the call in: one of the ends, or `queued` when it is to be dialled later
 */
export async function outboundCall(input: OutboundCallInput): Promise<VoiceState> {
  const { project, voiceCallId, pace, voicePace, resume } = input;
  const key = { project, voiceCallId };
  const { dialVoiceCall, lookUpVoiceCall, readVoiceCall, parkVoiceCall, stopVoiceCall, stopVoiceCallPatiently, takeBackVoiceCall, resolveVoiceCall, handOverVoiceCall, noteVoiceCall, freeLine } = voiceActivities(pace);

  let standing: VoiceStanding = { state: 'queued', found: false, connected: false, handedOver: false };
  /** Somebody has written something down. */
  let heard = false;
  let lookNow = false;
  let stopWanted = resume?.stopWanted ?? false;
  let resolving = false;
  let handedOver = false;
  let lineFreed = false;

  const is = (...states: readonly VoiceState[]): boolean => states.includes(standing.state);
  const said = (): string => standing.state.replaceAll('_', ' ');

  setHandler(observedSignal, () => void (heard = true));
  setHandler(
    stopUpdate,
    async (_stop): Promise<StopOutcome> => {
      if (!standing.found) {
        stopWanted = true;
        return 'noted';
      }
      await told(() => stopVoiceCall(key));
      // The webhook of its end may be lost.
      lookNow = true;
      return 'stopped';
    },
    {
      validator: (_stop: StopVoiceCall) => {
        if (is(...VOICE_ENDS, 'ended')) throw refuse(`This call cannot be stopped: it is ${said()}.`);
      },
    },
  );
  setHandler(
    resolveUpdate,
    async (resolution) => {
      resolving = true;
      try {
        // Whoever asks has read it in the database, which is a moment ahead.
        if (!is('needs_attention') && !(await condition(() => is('needs_attention'), PARKING_MS))) throw refuse(`This call waits for nobody: it is ${said()}.`);
        standing = await told(() => resolveVoiceCall({ ...key, resolution }));
        // Whoever wanted it stopped has been overruled.
        if (resolution.as === 'dial_again') stopWanted = false;
      } finally {
        resolving = false;
        // Also where the answer was lost: what was asked for may be done.
        heard = true;
      }
    },
    {
      validator: (_resolution: VoiceResolution) => {
        if (is(...VOICE_ENDS)) throw refuse(`This call waits for nobody: it is ${said()}.`);
        if (resolving) throw refuse('Somebody is resolving this call right now.');
      },
    },
  );

  /** Asks the provider. Where that fails, no more is known than before. @returns why it failed */
  const lookUp = async (): Promise<string | undefined> => {
    try {
      standing = await lookUpVoiceCall(key);
      return undefined;
    } catch (error) {
      return failureOf(error);
    }
  };

  /** @returns why it is not known whether the call was dialled, if it is not */
  const dial = async (): Promise<string | undefined> => {
    try {
      const dialled = await dialVoiceCall(key);
      standing = dialled.standing;
      return dialled.kind === 'unknown' ? dialled.reason : undefined;
    } catch (error) {
      const reason = failureOf(error);
      standing = await readVoiceCall(key);
      return reason;
    }
  };

  /** Somebody may be on the phone: twice it is looked for, with a pause because lists lag; never is it dialled again. */
  const findDialled = async (doubt: string): Promise<void> => {
    // What was told so far is read with the look.
    heard = false;
    let failed = await lookUp();
    if (!is('dialling')) return;
    await condition(() => heard, voicePace.secondLookMs);
    failed = (await lookUp()) ?? failed;
    if (!is('dialling')) return;
    const looked = failed === undefined ? 'The provider was asked twice, and lists no such call.' : `The provider was asked twice. ${failed}`;
    standing = await parkVoiceCall({ ...key, code: 'DIAL_UNKNOWN', message: `Whether this call was dialled is not known. ${doubt} ${looked}`, advice: LOOK_FOR_IT });
  };

  /** Its recording and transcript go the way of any other call's. */
  const handOver = async (): Promise<void> => {
    handedOver = true;
    try {
      await handOverVoiceCall(key);
    } catch (error) {
      await noteVoiceCall({ ...key, note: `${HAND_OVER_FAILED}${failureOf(error)}` });
    }
  };

  /** Whoever wanted it has their answer, that it was noted: it is tried for as long as somebody talks. */
  const stop = async (): Promise<void> => {
    try {
      await stopVoiceCallPatiently(key);
    } catch (error) {
      await noteVoiceCall({ ...key, note: `It was to be stopped, and was not: ${failureOf(error)}` });
    }
  };

  /** What is due, now that it stands where it does. */
  const follow = async (): Promise<void> => {
    setCurrentDetails(`**${said()}**`);
    const offLine = !is(...ON_A_LINE);
    // One that a person has let go back into the queue was off its line before.
    if (offLine && (!lineFreed || is('queued'))) await freeLine({ project });
    lineFreed = offLine;
    // The links to its recording expire: that does not wait for the analysis.
    if (is('ended', 'completed') && standing.connected && !standing.handedOver && !handedOver) await handOver();
    if (stopWanted && standing.found) {
      stopWanted = false;
      lookNow = true;
      if (is('dialled', 'ongoing')) await stop();
    }
  };

  let sinceMs = resume?.sinceMs ?? Date.now();
  let nextLookUpMs = resume?.nextLookUpMs ?? voicePace.firstLookUpMs;

  /** Nobody has told of it for a while. */
  const lookAgain = async (): Promise<void> => {
    const failed = await lookUp();
    nextLookUpMs = Math.min(nextLookUpMs * 2, is('needs_attention') ? PARKED_LOOK_UP_MS : voicePace.maxLookUpMs);
    if (is('needs_attention', 'queued', ...VOICE_ENDS) || Date.now() - sinceMs < voicePace.patienceMs) return;
    const minutes = Math.round(voicePace.patienceMs / 60_000);
    const what = is('ended') ? `This call has ended, and ${minutes} minutes after it was dialled its analysis has not come.` : `What became of this call is not known: it has not ended ${minutes} minutes after it was dialled.`;
    standing = await parkVoiceCall({ ...key, code: 'END_UNKNOWN', message: `${what}${failed === undefined ? '' : ` ${failed}`}`, advice: END_IT });
  };

  /** Dials, if the call's row has its turn, and finds out whether it did. */
  const takeUp = async (): Promise<void> => {
    // The row is read from here on.
    heard = false;
    sinceMs = Date.now();
    nextLookUpMs = voicePace.firstLookUpMs;
    const doubt = await dial();
    if (doubt !== undefined && is('dialling')) await findDialled(doubt);
  };

  if (resume || input.watchOnly) {
    standing = await readVoiceCall(key);
    if (is('dialling')) await findDialled('Its workflow was ended in Temporal while it was dialled.');
  } else {
    await takeUp();
  }

  for (;;) {
    while (!is('queued', ...VOICE_ENDS)) {
      await follow();
      const woken = await condition(() => heard || lookNow, nextLookUpMs);
      await condition(() => !resolving);
      if (woken && !lookNow) {
        heard = false;
        standing = await readVoiceCall(key);
        // Back in the queue, it may have a line already: that is asked of its row.
        if (is('queued')) heard = true;
      } else {
        heard = lookNow = false;
        await lookAgain();
      }
      if (workflowInfo().continueAsNewSuggested && !is('queued', ...VOICE_ENDS)) {
        await condition(allHandlersFinished);
        await continueAsNew<typeof outboundCall>({ ...input, resume: { sinceMs, nextLookUpMs, stopWanted } });
      }
    }
    if (is('queued') && stopWanted) {
      // The provider did not take it. Whoever stopped it meanwhile was told that it would be.
      stopWanted = false;
      standing = await takeBackVoiceCall({ ...key, reason: STOPPED });
      continue;
    }
    await follow();
    await condition(allHandlersFinished);
    if (!is('queued') || !(heard || stopWanted)) return standing.state;
    // It was given a line while this run was about to end.
    if (!stopWanted) await takeUp();
  }
}

/** What an activity failed with for good, in words. @throws what is no such failure */
const failureOf = (error: unknown): string => {
  if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
  return reasonOf(error).message;
};

/** An Update fails with what its activity failed with, and not the workflow. */
const told = async <T>(act: () => Promise<T>): Promise<T> => {
  try {
    return await act();
  } catch (error) {
    if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
    const { code, message, advice } = reasonOf(error);
    throw ApplicationFailure.create({ message, type: code, nonRetryable: true, details: [{ advice }] });
  }
};
