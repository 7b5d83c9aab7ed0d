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
  speakersBy: 'channel' | 'provider' | 'diarization' | 'none';
  /** Who told them apart, if the transcriber did not. */
  diarization?: { provider: string; model: string; billedSeconds: number };
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

/** A piece of speech before it is merged into turns. */
export interface SpokenPiece {
  speaker: string;
  channel?: number;
  startMs: number;
  endMs: number;
  text: string;
  confidence?: number;
}

/** Pieces of one speaker further apart than this are turns of their own. */
const TURN_GAP_MS = 2_000;

/**
 * Orders pieces in time and joins those that one speaker says in a row.
 *
 * Where people talk at once, the pieces stay apart and in the order in which they begin.
 */
export const toTurns = (pieces: readonly SpokenPiece[]): Turn[] => {
  const turns: (Turn & { pieces: number })[] = [];
  const spoken = pieces.filter((piece) => piece.text.trim() !== '').sort((a, b) => a.startMs - b.startMs || a.endMs - b.endMs);
  for (const piece of spoken) {
    const last = turns.at(-1);
    if (last && last.speaker === piece.speaker && last.channel === piece.channel && piece.startMs - last.endMs <= TURN_GAP_MS) {
      last.text = `${last.text} ${piece.text.trim()}`;
      last.endMs = Math.max(last.endMs, piece.endMs);
      if (last.confidence !== undefined && piece.confidence !== undefined) last.confidence = (last.confidence * last.pieces + piece.confidence) / (last.pieces + 1);
      last.pieces += 1;
      continue;
    }
    turns.push({ ...piece, endMs: Math.max(piece.startMs, piece.endMs), text: piece.text.trim(), pieces: 1 });
  }
  return turns.map(({ pieces: _pieces, ...turn }) => turn);
};
