import type { JobNote } from '../../domain/cost.ts';
import type { SpeakerSegment } from '../../domain/diarization.ts';

/** Tells who speaks when on one channel. What is said is not its business. */
export interface Diarizer {
  readonly name: string;
  readonly model: string;
  readonly limits: { maxBytes: number; maxSeconds: number };

  diarize(request: DiarizeAudio): Promise<DiarizationResult>;
}

export interface DiarizeAudio {
  /** A local file within `limits`. */
  path: string;
  durationMs: number;
  job?: JobNote;
  signal: AbortSignal;
}

export interface DiarizationResult {
  /** In order; the provider's own labels. */
  segments: SpeakerSegment[];
  provider: string;
  model: string;
  /** As billed. */
  usage: { seconds: number };
  requestId?: string;
}
