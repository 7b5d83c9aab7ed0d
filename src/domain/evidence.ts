import type { Evidence, EvidenceFault } from './analysis.ts';
import type { Transcript, Turn } from './transcript.ts';

/**
 * The evidence check: a quote counts only if its words stand in the transcript, in this order, said by
 * somebody whose words may serve.
 *
 * Case, punctuation, white space, diacritics and typographic quotes do not matter; every word does. A
 * quote may run over consecutive turns of one speaker. It shows where words come from, not that they
 * support the claim.
 */
export const findQuote = (transcript: Pick<Transcript, 'turns'>, quote: string, from: 'agent' | 'customer' | 'either'): { evidence: Evidence } | { fault: EvidenceFault } => {
  const wanted = wordsOf(quote);
  if (wanted.length === 0) return { fault: 'empty' };
  let spokenByAnother = false;
  for (const stretch of stretchesOf(transcript.turns)) {
    const at = indexOfWords(stretch.words, wanted);
    if (at < 0) continue;
    if (!mayServe(stretch.speaker, from)) {
      spokenByAnother = true;
      continue;
    }
    const first = stretch.words[at]!;
    const last = stretch.words[at + wanted.length - 1]!;
    return { evidence: { quote: quote.trim(), speaker: stretch.speaker, turn: first.turn, startMs: first.startMs, endMs: last.endMs } };
  }
  return { fault: spokenByAnother ? 'wrong_speaker' : 'not_in_transcript' };
};

/** Speakers that nobody could name (one-channel recordings) are not held against a quote. */
const mayServe = (speaker: string, from: 'agent' | 'customer' | 'either'): boolean => from === 'either' || speaker === from || (speaker !== 'agent' && speaker !== 'customer');

interface SpokenWord {
  word: string;
  turn: number;
  startMs: number;
  endMs: number;
}

/** Letters and digits of any script; marks are dropped with the diacritics. */
const wordsOf = (text: string): string[] =>
  text
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Runs of turns by the same speaker, as words with times interpolated over each turn. */
const stretchesOf = (turns: readonly Turn[]): { speaker: string; words: SpokenWord[] }[] => {
  const stretches: { speaker: string; words: SpokenWord[] }[] = [];
  for (const [turn, { speaker, startMs, endMs, text }] of turns.entries()) {
    const words = wordsOf(text);
    const perWord = words.length === 0 ? 0 : (endMs - startMs) / words.length;
    const spoken = words.map((word, index) => ({
      word,
      turn,
      startMs: Math.round(startMs + index * perWord),
      endMs: Math.round(startMs + (index + 1) * perWord),
    }));
    const last = stretches.at(-1);
    if (last?.speaker === speaker) last.words.push(...spoken);
    else stretches.push({ speaker, words: spoken });
  }
  return stretches;
};

const indexOfWords = (words: readonly SpokenWord[], wanted: readonly string[]): number => {
  for (let at = 0; at + wanted.length <= words.length; at += 1) {
    if (wanted.every((word, index) => words[at + index]!.word === word)) return at;
  }
  return -1;
};
