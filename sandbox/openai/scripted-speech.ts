import { join } from 'node:path';
import type { SampleCall, ScriptLine } from '../calls/script.ts';
import { type Fingerprint, listen, locate, type Place } from './fingerprint.ts';
import { type Heard, type KnownVoice, SampleRefused, type SpeechEngine } from './speech.ts';

interface Known {
  fingerprint: Fingerprint;
  lines: ScriptLine[];
}

/** The same sound comes out above 0.9, however it was coded; a stock phrase at the same time in another call below 0.8. */
const RECOGNISED = 0.85;
/** How long a sample of a voice may be, with room for what codecs add. */
const SAMPLE_MS = { shortest: 1_950, longest: 10_050 };
/** How far a place can be off: a line that starts this much before a part still starts in it. */
const SLACK_MS = 100;

/** Answers known calls from their scripts: it finds out by ear which call, and which part of it, it is given. */
export const createScriptedSpeech = ({ calls, audioFolder, ffmpegPath }: { calls: readonly SampleCall[]; audioFolder: string; ffmpegPath: string }): SpeechEngine => {
  let known: Promise<Known[]> | undefined;
  const learn = async (): Promise<Known[]> => {
    const learnt: Known[] = [];
    for (const { script, recording } of calls) {
      if (!script || !recording) continue;
      const { channels, mix } = await listen(ffmpegPath, join(audioFolder, recording.file));
      for (const channel of [0, 1] as const) learnt.push({ fingerprint: channels[channel], lines: script.filter((line) => line.channel === channel) });
      learnt.push({ fingerprint: mix, lines: script });
    }
    return learnt;
  };

  const recognise = async (heard: Fingerprint): Promise<(Place & { lines: ScriptLine[] }) | undefined> => {
    known ??= learn();
    const places = (await known).flatMap(({ fingerprint, lines }) => {
      const place = locate(fingerprint, heard);
      return place && place.likeness >= RECOGNISED ? [{ ...place, lines }] : [];
    });
    return places.sort((a, b) => b.likeness - a.likeness)[0];
  };

  /** Whose voice a sample is, in the script's words. */
  const speakerOf = async (audio: Uint8Array): Promise<ScriptLine['speaker'] | undefined> => {
    const { mix, durationMs } = await listen(ffmpegPath, audio);
    if (durationMs < SAMPLE_MS.shortest || durationMs > SAMPLE_MS.longest) throw new SampleRefused(`Known speaker references must be 2 to 10 seconds long; one is ${(durationMs / 1_000).toFixed(1)} seconds.`);
    const place = await recognise(mix);
    if (!place) return undefined;
    const { offsetMs } = place;
    const sounding = ({ startMs, endMs }: ScriptLine): number => Math.min(endMs, offsetMs + durationMs) - Math.max(startMs, offsetMs);
    return place.lines.reduce((most, line) => (sounding(line) > sounding(most) ? line : most)).speaker;
  };

  /** Speakers keep the names of the samples they are known by; the others get letters in the order in which they speak. */
  const namesFor = async (lines: readonly ScriptLine[], voices: readonly KnownVoice[]): Promise<Map<string, string>> => {
    const names = new Map<string, string>();
    for (const { name, sample } of voices) {
      const speaker = await speakerOf(sample);
      if (speaker && !names.has(speaker)) names.set(speaker, name);
    }
    const letters = ['A', 'B', 'C', 'D', 'E', 'F'].filter((letter) => !voices.some(({ name }) => name === letter));
    for (const { speaker } of lines) if (!names.has(speaker)) names.set(speaker, letters.shift()!);
    return names;
  };

  return {
    async hear(audio, { knownVoices = [] }): Promise<Heard> {
      const { mix, durationMs } = await listen(ffmpegPath, audio);
      const place = await recognise(mix);
      if (!place) return { provider: 'sandbox: no script for this recording', model: undefined, language: undefined, durationMs, segments: [] };
      const { offsetMs } = place;
      const lines = place.lines.filter(({ startMs }) => startMs >= offsetMs - SLACK_MS && startMs < offsetMs + durationMs - SLACK_MS);
      const names = await namesFor(lines, knownVoices);
      const segments = lines.map(({ startMs, endMs, text, speaker }) => ({
        startMs: Math.max(0, startMs - offsetMs),
        endMs: Math.min(durationMs, endMs - offsetMs),
        text,
        speaker: names.get(speaker)!,
      }));
      return { provider: 'sandbox: scripted', model: undefined, language: 'en', durationMs, segments };
    },
    close: async () => {},
  };
};
