/** What turns audio into words behind the transcription API. */
export interface SpeechEngine {
  /** @param audio a whole file in any format that ffmpeg reads */
  hear(audio: Uint8Array, options: { language?: string }): Promise<Heard>;
  close(): Promise<void>;
}

export interface Heard {
  /** What the server calls itself in `x-stt-provider`. */
  provider: string;
  /** Set when the engine is a model of its own. */
  model: string | undefined;
  language: string | undefined;
  durationMs: number;
  segments: { startMs: number; endMs: number; text: string; speaker: string }[];
}
