/** A transcript as stored at `call-detail/{task_id}/transcript.json`. Times are ms from the recording's start. */
export interface Transcript {
  callId: string;
  /** BCP-47 where the provider told it. */
  language?: string;
  durationMs: number;
  /** Who transcribed: the configured provider, or what the server calls itself. */
  provider: string;
  /** The model as the provider reported it. */
  model: string;
  /** How speakers were told apart. */
  speakersBy: 'channel' | 'provider' | 'none';
  /** `agent` and `customer` where known, else the provider's own labels. */
  speakers: string[];
  turns: Turn[];
  usage: { requests: number; billedSeconds?: number; inputTokens?: number; outputTokens?: number };
}

/** Consecutive words of one speaker. */
export interface Turn {
  speaker: string;
  /** 0 or 1 on two-channel recordings. */
  channel?: number;
  startMs: number;
  endMs: number;
  text: string;
  /** 0 to 1, where the provider gives one. */
  confidence?: number;
}
