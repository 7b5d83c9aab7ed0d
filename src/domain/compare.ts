import type { Analysis, GradedAnswer, Verdict } from './analysis.ts';
import type { Transcript } from './transcript.ts';

/** Two runs of a call, side by side. */
export interface Comparison {
  score: { from: number | null; to: number | null; difference: number | null };
  /** One for each question that either rubric has, in the order of the newer. */
  questions: QuestionComparison[];
  transcript: TranscriptComparison | null;
}

export interface QuestionComparison {
  criterion: string;
  /** Null: that rubric has no such question. */
  from: Verdict | null;
  to: Verdict | null;
  changed: boolean;
  quotes: { kept: string[]; gone: string[]; fresh: string[] };
}

export interface TranscriptComparison {
  turns: { from: number; to: number };
  words: { from: number; to: number; /** Of the words, each as often as it was said: in one and not in the other. */ gone: number; fresh: number };
  speakers: { from: string[]; to: string[] };
  /** Word for word, and by the same speakers. */
  same: boolean;
}

export const compareAnalyses = (from: Analysis | null, to: Analysis | null): Pick<Comparison, 'score' | 'questions'> => {
  const [before, after] = [from?.grading.total_score_percent ?? null, to?.grading.total_score_percent ?? null];
  const criteria = [...new Set([...(to?.answers ?? []), ...(from?.answers ?? [])].map(({ criterion }) => criterion))];
  const answerOf = (analysis: Analysis | null, criterion: string): GradedAnswer | undefined => analysis?.answers.find((answer) => answer.criterion === criterion);
  return {
    score: { from: before, to: after, difference: before === null || after === null ? null : after - before },
    questions: criteria.map((criterion) => {
      const [was, is] = [answerOf(from, criterion), answerOf(to, criterion)];
      const [had, has] = [quotesOf(was), quotesOf(is)];
      return {
        criterion,
        from: was?.verdict ?? null,
        to: is?.verdict ?? null,
        changed: was?.verdict !== is?.verdict,
        quotes: { kept: had.filter((quote) => has.includes(quote)), gone: had.filter((quote) => !has.includes(quote)), fresh: has.filter((quote) => !had.includes(quote)) },
      };
    }),
  };
};

const quotesOf = (answer: GradedAnswer | undefined): string[] => [...new Set(answer?.evidence.map(({ quote }) => quote) ?? [])];

export const compareTranscripts = (from: Transcript | undefined, to: Transcript | undefined): TranscriptComparison | null => {
  if (!from || !to) return null;
  const [before, after] = [wordsOf(from), wordsOf(to)];
  const lines = ({ turns }: Transcript): string => JSON.stringify(turns.map(({ speaker, text }) => [speaker, text]));
  return {
    turns: { from: from.turns.length, to: to.turns.length },
    words: { from: before.length, to: after.length, gone: missingFrom(after, before), fresh: missingFrom(before, after) },
    speakers: { from: from.speakers, to: to.speakers },
    same: lines(from) === lines(to),
  };
};

/** Case and punctuation differ from run to run and mean nothing. */
const wordsOf = ({ turns }: Transcript): string[] => turns.flatMap(({ text }) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);

/** How many of the words of `wanted` are not among `there`, each counted as often as it stands. */
const missingFrom = (there: string[], wanted: string[]): number => {
  const left = new Map<string, number>();
  for (const word of there) left.set(word, (left.get(word) ?? 0) + 1);
  let missing = 0;
  for (const word of wanted) {
    const count = left.get(word) ?? 0;
    if (count === 0) missing += 1;
    else left.set(word, count - 1);
  }
  return missing;
};
