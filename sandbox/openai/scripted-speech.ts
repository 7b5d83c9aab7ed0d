import { join } from 'node:path';
import type { SampleCall, ScriptLine } from '../calls/script.ts';
import { type Envelope, envelopesOf, locate } from './envelope.ts';
import type { Heard, SpeechEngine } from './speech.ts';

interface Known {
  envelope: Envelope;
  lines: ScriptLine[];
  /** Both speakers are in it. */
  mixed: boolean;
}

/** Answers known calls from their scripts: it finds out by ear which call, and which part of it, it is given. */
export const createScriptedSpeech = ({ calls, audioFolder, ffmpegPath }: { calls: readonly SampleCall[]; audioFolder: string; ffmpegPath: string }): SpeechEngine => {
  let known: Promise<Known[]> | undefined;
  const learn = async (): Promise<Known[]> => {
    const learnt: Known[] = [];
    for (const { script, recording } of calls) {
      if (!script || !recording) continue;
      const { channels, mix } = await envelopesOf(ffmpegPath, join(audioFolder, recording.file));
      for (const channel of [0, 1] as const) learnt.push({ envelope: channels[channel]!, lines: script.filter((line) => line.channel === channel), mixed: false });
      learnt.push({ envelope: mix, lines: script, mixed: true });
    }
    return learnt;
  };

  return {
    async hear(audio): Promise<Heard> {
      const heard = (await envelopesOf(ffmpegPath, audio)).mix;
      const durationMs = heard.length * 50;
      known ??= learn();
      const matches = (await known)
        .map((candidate) => ({ candidate, match: locate(candidate.envelope, heard) }))
        .filter(({ match }) => match !== undefined)
        .sort((a, b) => b.match!.likeness - a.match!.likeness);
      const best = matches[0];
      if (!best) return { provider: 'sandbox: no script for this recording', model: undefined, language: undefined, durationMs, segments: [] };
      const offsetMs = best.match!.offsetMs;
      const segments = best.candidate.lines
        .filter((line) => line.startMs >= offsetMs - 100 && line.startMs < offsetMs + durationMs)
        .map((line) => ({
          startMs: Math.max(0, line.startMs - offsetMs),
          endMs: Math.min(durationMs, line.endMs - offsetMs),
          text: line.text,
          // Letters in the order in which people speak, as a diarising model gives them.
          speaker: best.candidate.mixed && line.speaker !== best.candidate.lines[0]?.speaker ? 'B' : 'A',
        }));
      return { provider: 'sandbox: scripted', model: undefined, language: 'en', durationMs, segments };
    },
    close: async () => {},
  };
};
