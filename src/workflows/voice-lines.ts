import { condition, continueAsNew, defineSignal, setCurrentDetails, setHandler, workflowInfo } from '@temporalio/workflow';
import { VOICE_LINES_SIGNAL, type VoiceLinesInput } from '../domain/voice-lines.ts';
import { voiceLinesActivities } from './proxies.ts';

const wakeSignal = defineSignal(VOICE_LINES_SIGNAL);

/** Each look is a dozen events; with this many, history stays far below the server's warning at 10,240. */
const LOOKS_PER_RUN = 300;

/**
 * Works off a project's queue of voice calls: puts those that are due onto free lines, and looks again when a line
 * becomes free, something is queued, or the next one is due.
 *
 * Where anything stands is in the database only, so that it may be ended, lost or started anew at any time. It ends
 * when nothing waits; whoever queues a call wakes it.
 */
export async function voiceLines(input: VoiceLinesInput): Promise<void> {
  const { startDueCalls } = voiceLinesActivities(input.pace);
  let woken = false;
  setHandler(wakeSignal, () => void (woken = true));

  for (let looks = 0; ; looks += 1) {
    if (looks >= LOOKS_PER_RUN || workflowInfo().continueAsNewSuggested) await continueAsNew<typeof voiceLines>(input);
    woken = false;
    const { lookAgainInMs, heldBack } = await startDueCalls({ project: input.project });
    setCurrentDetails(heldBack ?? (lookAgainInMs === null ? 'nothing waits' : 'calls wait for a line, or for their time'));
    if (woken) continue;
    if (lookAgainInMs === null) return;
    if (lookAgainInMs > 0) await condition(() => woken, lookAgainInMs);
  }
}
