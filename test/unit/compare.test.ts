import { describe, expect, it } from '@jest/globals';
import type { Analysis, Verdict } from '../../src/domain/analysis.ts';
import { compareAnalyses, compareTranscripts } from '../../src/domain/compare.ts';
import type { Transcript } from '../../src/domain/transcript.ts';

const analysis = (score: number | null, answers: [criterion: string, verdict: Verdict, ...quotes: string[]][]): Analysis =>
  ({
    grading: { total_score_percent: score },
    answers: answers.map(([criterion, verdict, ...quotes]) => ({ criterion, verdict, evidence: quotes.map((quote) => ({ quote })) })),
  }) as unknown as Analysis;
const transcript = (...turns: [speaker: string, text: string][]): Transcript => ({ speakers: [...new Set(turns.map(([speaker]) => speaker))], turns: turns.map(([speaker, text]) => ({ speaker, text, startMs: 0, endMs: 1 })) }) as unknown as Transcript;

describe('two runs of a call', () => {
  it('differ by question: verdicts, quotes, and questions that only one rubric has', () => {
    const before = analysis(50, [['greeting', 'yes', 'good morning', 'hello'], ['closing', 'no'], ['old', 'yes']]);
    const after = analysis(80, [['greeting', 'yes', 'hello', 'welcome'], ['closing', 'not_evidenced'], ['new', 'no']]);
    expect(compareAnalyses(before, after)).toEqual({
      score: { from: 50, to: 80, difference: 30 },
      questions: [
        { criterion: 'greeting', from: 'yes', to: 'yes', changed: false, quotes: { kept: ['hello'], gone: ['good morning'], fresh: ['welcome'] } },
        { criterion: 'closing', from: 'no', to: 'not_evidenced', changed: true, quotes: { kept: [], gone: [], fresh: [] } },
        { criterion: 'new', from: null, to: 'no', changed: true, quotes: { kept: [], gone: [], fresh: [] } },
        { criterion: 'old', from: 'yes', to: null, changed: true, quotes: { kept: [], gone: [], fresh: [] } },
      ],
    });
  });

  it.each([
    [null, analysis(80, []), { from: null, to: 80, difference: null }],
    [analysis(null, []), analysis(80, []), { from: null, to: 80, difference: null }],
    [null, null, { from: null, to: null, difference: null }],
  ])('have no difference in score where one has none', (before, after, score) => {
    expect(compareAnalyses(before, after).score).toEqual(score);
  });

  it('differ by the words that were heard, not by their case', () => {
    expect(compareTranscripts(transcript(['agent', 'Good morning.'], ['customer', 'I want two, two lines']), transcript(['agent', 'good morning'], ['customer', 'I want two lines now']))).toEqual({
      turns: { from: 2, to: 2 },
      words: { from: 7, to: 7, gone: 1, fresh: 1 },
      speakers: { from: ['agent', 'customer'], to: ['agent', 'customer'] },
      same: false,
    });
    const same = transcript(['agent', 'Hello']);
    expect(compareTranscripts(same, same)).toMatchObject({ same: true, words: { gone: 0, fresh: 0 } });
    expect(compareTranscripts(same, transcript(['customer', 'Hello']))).toMatchObject({ same: false, words: { gone: 0, fresh: 0 } });
    expect(compareTranscripts(undefined, same)).toBeNull();
  });
});
