import type { VoiceLinesClient } from '../client/voice-lines.ts';
import type { VoiceLines } from '../db/voice-lines.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { startRelay } from './relay.ts';

/** A queue that is due and that nobody has looked at for so long was forgotten: its wake-up was lost, or Temporal was down. */
const PATIENCE_MS = 20_000;

export interface VoiceLinesRelay {
  /** Has a project's queue looked at now. */
  kick(project: string): void;
  stop(): Promise<void>;
}

/** Wakes the work on queues of voice calls. A call that was queued is dialled, however often waking it failed. */
export const startVoiceLinesRelay = ({ voiceLines, client, log }: { voiceLines: Pick<VoiceLines, 'neglected'>; client: Pick<VoiceLinesClient, 'wake'>; log: Log }): VoiceLinesRelay => {
  const asked = new Set<string>();
  const relay = startRelay({
    batch: async (stopped) => {
      for (const project of new Set([...asked, ...(await voiceLines.neglected(PATIENCE_MS))])) {
        if (stopped()) return false;
        // Before it is woken: whoever asks meanwhile has it looked at once more.
        asked.delete(project);
        await client.wake(project).catch((error: unknown) => {
          asked.add(project);
          throw error;
        });
      }
      return asked.size > 0;
    },
    failed: (error) => log.warn({ error: messageOf(error) }, 'queues of voice calls not woken yet, will be tried again'),
  });
  return {
    kick: (project) => {
      asked.add(project);
      relay.kick();
    },
    stop: relay.stop,
  };
};
