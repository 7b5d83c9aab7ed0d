import { join } from 'node:path';
import type { Audio } from '../adapters/audio/audio.ts';
import type { KnownSpeaker, SpeechResult } from '../adapters/stt/transcriber.ts';

/** The provider takes 2 to 10 s of at most four speakers. */
const SAMPLE_MS = { shortest: 2_000, longest: 9_000 };
const MAX_KNOWN_SPEAKERS = 4;

/**
 * A speaker of a call that goes to the provider in parts.
 *
 * Providers letter speakers anew in every part: its A may be another person's than the last part's. A
 * sample carries a speaker over, under a name that no provider gives; letters without one are new speakers.
 */
export interface Voice {
  /** In the transcript. */
  label: string;
  /** In requests. */
  name: string;
  samplePath?: string;
}

export const isSampled = (voice: Voice): voice is Voice & KnownSpeaker => voice.samplePath !== undefined;

/** Labels of one part's speakers; who is new there is added to `voices`. */
export const labelsOfPart = (voices: Voice[]): ((given: string) => string) => {
  const labels = new Map(voices.filter(isSampled).map(({ name, label }) => [name, label]));
  return (given) => {
    const known = labels.get(given);
    if (known !== undefined) return known;
    const label = voices.some((voice) => voice.label === given) ? firstFree(voices) : given;
    voices.push({ label, name: `speaker_${voices.length + 1}` });
    labels.set(given, label);
    return label;
  };
};

const firstFree = (voices: readonly Voice[]): string => {
  const letters = Array.from({ length: voices.length + 1 }, (_, index) => (index < 26 ? String.fromCharCode(65 + index) : `S${index + 1}`));
  return letters.find((letter) => voices.every(({ label }) => label !== letter))!;
};

interface Sampling {
  path: string;
  folder: string;
  segments: SpeechResult['segments'];
  voices: Voice[];
  labelOf: (given: string) => string;
  signal: AbortSignal;
}

/** Takes a sample of each speaker of a part who has none yet. */
export const sampleVoices = async (audio: Audio, { path, folder, segments, voices, labelOf, signal }: Sampling): Promise<void> => {
  const longestFirst = segments.toSorted((a, b) => b.endMs - b.startMs - (a.endMs - a.startMs));
  for (const { speaker, startMs, endMs } of longestFirst) {
    if (speaker === undefined || endMs - startMs < SAMPLE_MS.shortest || voices.filter(isSampled).length >= MAX_KNOWN_SPEAKERS) continue;
    const voice = voices.find(({ label }) => label === labelOf(speaker))!;
    if (isSampled(voice)) continue;
    const samplePath = join(folder, `${voice.name}.wav`);
    await audio.clip(path, { startMs, endMs: Math.min(endMs, startMs + SAMPLE_MS.longest), outPath: samplePath, signal });
    voice.samplePath = samplePath;
  }
};
