/** What the pipeline needs to know of and do to audio files. */
export interface Audio {
  /**
   * Duration, codec and what the channels hold. Decodes the file once; costs nothing but CPU.
   *
   * @throws AUDIO_UNREADABLE when it is no audio that can be decoded
   */
  probe(path: string, signal: AbortSignal): Promise<AudioProbe>;

  /**
   * Writes mono parts fit for a speech provider: 16 kHz, compressed, cut in pauses so that each part
   * stays under the limits.
   *
   * @param options.channel which channel to take; undefined mixes all down
   */
  prepare(path: string, options: PrepareAudio): Promise<AudioPart[]>;

  /** Cuts out a clip, e.g. a sample of one speaker. */
  clip(path: string, options: { startMs: number; endMs: number; outPath: string; signal: AbortSignal }): Promise<void>;
}

export interface AudioProbe {
  durationMs: number;
  codec: string;
  sampleRate: number;
  channels: number;
  /**
   * `two_speakers`: two channels that differ. `duplicated_mono`: two channels with the same sound.
   * `one_silent`: speech on one of two channels only, see `soundingChannel`.
   */
  layout: 'mono' | 'two_speakers' | 'duplicated_mono' | 'one_silent' | 'silent';
  soundingChannel?: number;
}

export interface PrepareAudio {
  directory: string;
  channel?: number;
  maxSeconds: number;
  maxBytes: number;
  signal: AbortSignal;
}

export interface AudioPart {
  path: string;
  /** Where the part starts in the recording. */
  startMs: number;
  durationMs: number;
}
