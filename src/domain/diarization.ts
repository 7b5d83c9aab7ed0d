import type { SpokenPiece } from './transcript.ts';

/** Somebody speaks, as a diarizer hears it. */
export interface SpeakerSegment {
  speaker: string;
  startMs: number;
  endMs: number;
}

/** What is said, with as much of its timing as the transcriber gave. */
export interface TimedSpeech extends Omit<SpokenPiece, 'speaker'> {
  words?: readonly { startMs: number; endMs: number; text: string }[];
}

/**
 * Gives what is said to who speaks at that time.
 *
 * Where there are times of words, each word goes to the speaker it overlaps most, and the text is cut
 * where the speaker changes; else the whole piece does. What overlaps nobody goes to whoever is nearest in
 * time, and a tie to whoever spoke last. Speakers get letters in the order in which they first speak.
 */
export const assignSpeakers = (speech: readonly TimedSpeech[], segments: readonly SpeakerSegment[]): SpokenPiece[] => {
  if (segments.length === 0) return [];
  const letters = new Map<string, string>();
  const letterOf = (label: string): string => {
    if (!letters.has(label)) letters.set(label, letters.size < 26 ? String.fromCharCode(65 + letters.size) : `S${letters.size + 1}`);
    return letters.get(label)!;
  };
  let last: string | undefined;
  const pieces: SpokenPiece[] = [];
  for (const { words = [], ...piece } of speech.toSorted((a, b) => a.startMs - b.startMs)) {
    if (piece.text.trim() === '') continue;
    const parts = words.length > 0 ? partsOf(piece.text, words) : [piece];
    const runs: { speaker: string; parts: Part[] }[] = [];
    for (const part of parts) {
      last = speakerAt(part, segments, last);
      const run = runs.at(-1);
      if (run?.speaker === last) run.parts.push(part);
      else runs.push({ speaker: last, parts: [part] });
    }
    for (const run of runs) {
      pieces.push({ ...piece, speaker: letterOf(run.speaker), startMs: run.parts[0]!.startMs, endMs: run.parts.at(-1)!.endMs, text: run.parts.map((part) => part.text).join('').trim() });
    }
  }
  return pieces;
};

interface Part {
  startMs: number;
  endMs: number;
  text: string;
}

/**
 * A text cut into its words: each part is a word and what follows it up to the next, so that together they
 * are the text, with its punctuation and however its script separates words.
 */
const partsOf = (text: string, words: readonly Part[]): Part[] => {
  const lowered = text.toLowerCase();
  // A few letters become two; places in the text would be off by then.
  const sought = lowered.length === text.length ? lowered : text;
  const starts: number[] = [];
  let at = 0;
  for (const word of words) {
    const found = sought.indexOf(word.text.trim().toLowerCase(), at);
    // Words that are not those of the text: the times are right all the same.
    if (found < 0 || word.text.trim() === '' || /[\p{L}\p{N}]/u.test(text.slice(at, found))) return words.map((part) => ({ ...part, text: `${part.text.trim()} ` }));
    starts.push(found);
    at = found + word.text.trim().length;
  }
  return words.map(({ startMs, endMs }, index) => ({ startMs, endMs, text: text.slice(index === 0 ? 0 : starts[index], starts[index + 1]) }));
};

const speakerAt = ({ startMs, endMs }: Part, segments: readonly SpeakerSegment[], last: string | undefined): string => {
  const overlaps = new Map<string, number>();
  for (const segment of segments) {
    const ms = Math.min(endMs, segment.endMs) - Math.max(startMs, segment.startMs);
    if (ms > 0) overlaps.set(segment.speaker, (overlaps.get(segment.speaker) ?? 0) + ms);
  }
  if (overlaps.size > 0) {
    const most = Math.max(...overlaps.values());
    if (last !== undefined && overlaps.get(last) === most) return last;
    return [...overlaps].find(([, ms]) => ms === most)![0];
  }
  const distance = (segment: SpeakerSegment): number => Math.max(segment.startMs - endMs, startMs - segment.endMs);
  return segments.reduce((nearest, segment) => (distance(segment) < distance(nearest) || (distance(segment) === distance(nearest) && segment.speaker === last) ? segment : nearest)).speaker;
};
