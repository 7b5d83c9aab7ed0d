/** What turns audio into words behind the transcription API. */
export interface SpeechEngine {
  /**
   * @param audio a whole file in any format that ffmpeg reads
   * @throws SampleRefused when a known voice's sample is too short or too long
   */
  hear(audio: Uint8Array, options: { language?: string; knownVoices?: KnownVoice[] }): Promise<Heard>;
  close(): Promise<void>;
}

/** A speaker by a sample of the voice. An engine that does not tell speakers apart ignores it. */
export interface KnownVoice {
  name: string;
  sample: Uint8Array;
}

export class SampleRefused extends Error {}

export interface Heard {
  /** What the server calls itself in `x-stt-provider`. */
  provider: string;
  /** Set when the engine is a model of its own. */
  model: string | undefined;
  language: string | undefined;
  durationMs: number;
  segments: { startMs: number; endMs: number; text: string; speaker: string }[];
}

/** The words of a segment, as long as their letters. */
export const wordsOf = ({ startMs, endMs, text }: Heard['segments'][number]): { startMs: number; endMs: number; text: string }[] => {
  const msPerLetter = (endMs - startMs) / text.length;
  return [...text.matchAll(/\S+/g)].map(({ 0: word, index }) => ({
    text: word,
    startMs: Math.round(startMs + index * msPerLetter),
    endMs: Math.round(startMs + (index + word.length) * msPerLetter),
  }));
};
