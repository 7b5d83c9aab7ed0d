import type { JobNote } from '../../domain/cost.ts';

/** Speech to text. Cutting, channel separation and stitching are not a transcriber's business. */
export interface Transcriber {
  /** As configured, e.g. `openai`. */
  readonly name: string;
  readonly model: string;
  readonly limits: { maxBytes: number; maxSeconds: number };
  /** Whether it tells speakers apart on one channel. */
  readonly tellsSpeakers: boolean;

  transcribe(request: TranscribeAudio): Promise<SpeechResult>;
}

export interface TranscribeAudio {
  /** A local file within `limits`. */
  path: string;
  durationMs: number;
  /** BCP-47. */
  language?: string;
  /** Speakers known from earlier parts of the same recording, at most four. */
  knownSpeakers?: KnownSpeaker[];
  /** Wanted where the provider can give them. */
  wordTimes?: boolean;
  /** For providers that work in jobs. */
  job?: JobNote;
  signal: AbortSignal;
}

export interface KnownSpeaker {
  name: string;
  /** A local file with 2 to 10 s of this speaker alone. */
  samplePath: string;
}

export interface SpeechResult {
  segments: SpeechSegment[];
  /** False: one segment with all of the text, since the provider gave no times. */
  timed?: false;
  language?: string;
  durationMs: number;
  /** What the server calls itself if it does, else the configured name. */
  provider: string;
  /** As the server reported it, else as asked for. */
  model: string;
  usage: { seconds?: number; inputTokens?: number; outputTokens?: number };
  requestId?: string;
}

export interface SpeechSegment {
  startMs: number;
  endMs: number;
  text: string;
  speaker?: string;
  confidence?: number;
  /** In order, where the provider gives their times. */
  words?: SpokenWord[];
}

export interface SpokenWord {
  startMs: number;
  endMs: number;
  /** As written in the segment's text, or without its punctuation. */
  text: string;
  speaker?: string;
  confidence?: number;
}
