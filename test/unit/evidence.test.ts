import { checkPatterns } from '../../src/domain/patterns.ts';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { toSrt, toWebVtt } from '../../src/domain/captions.ts';
import { clean } from '../../src/domain/clean.ts';
import { findQuote } from '../../src/domain/evidence.ts';
import { checkAnswers, grade } from '../../src/domain/grading.ts';
import type { Rubric } from '../../src/domain/rubric.ts';
import { toTurns, type Turn } from '../../src/domain/transcript.ts';

const turns: Turn[] = [
  { speaker: 'agent', startMs: 0, endMs: 4_000, text: 'Good morning, Northwind Telecom. How can I help you?' },
  { speaker: 'customer', startMs: 4_000, endMs: 8_000, text: 'It’s about our café — the line is dead.' },
  { speaker: 'agent', startMs: 8_000, endMs: 9_000, text: 'I am sorry.' },
  { speaker: 'agent', startMs: 9_500, endMs: 11_000, text: 'We will send somebody today.' },
];

describe('the evidence check', () => {
  it.each([
    ['word for word', 'How can I help you?', 'agent', 0],
    ['without case, punctuation and diacritics', "IT'S ABOUT OUR CAFE, the line is dead", 'customer', 1],
    ['over two turns of one speaker', 'I am sorry. We will send somebody', 'agent', 2],
    ['from whoever, where the rubric does not mind', 'the line is dead', 'either', 1],
  ] as const)('finds a quote %s', (_title, quote, from, turn) => {
    expect(findQuote({ turns }, quote, from)).toMatchObject({ evidence: { turn } });
  });

  it.each([
    ['a paraphrase', 'We are going to send somebody today', 'agent', 'not_in_transcript'],
    ['words in another order', 'dead is the line', 'customer', 'not_in_transcript'],
    ['words of two speakers joined', 'help you It’s about', 'either', 'not_in_transcript'],
    ['a part of a word', 'Northwin', 'agent', 'not_in_transcript'],
    ['words of the wrong speaker', 'the line is dead', 'agent', 'wrong_speaker'],
    ['nothing', ' … ', 'agent', 'empty'],
  ] as const)('throws out %s', (_title, quote, from, fault) => {
    expect(findQuote({ turns }, quote, from)).toEqual({ fault });
  });

  it('places a quote in time, within its turn', () => {
    const found = findQuote({ turns }, 'the line is dead', 'customer');
    expect(found).toEqual({ evidence: { quote: 'the line is dead', speaker: 'customer', turn: 1, startMs: 6_222, endMs: 8_000 } });
  });

  it('does not hold a speaker against a quote whom nobody could name', () => {
    expect(findQuote({ turns: [{ speaker: 'A', startMs: 0, endMs: 1, text: 'hello there' }] }, 'hello', 'agent')).toHaveProperty('evidence');
  });

  it('finds every run of words that was said, and none that was not', () => {
    const word = fc.stringMatching(/^[a-m]{1,6}$/);
    fc.assert(
      fc.property(fc.array(fc.array(word, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 6 }), fc.nat(), fc.nat(), fc.nat(), (spoken, which, from, length) => {
        const said: Turn[] = spoken.map((words, index) => ({ speaker: index % 2 ? 'agent' : 'customer', startMs: index * 10, endMs: index * 10 + 9, text: words.join(' ') }));
        const words = spoken[which % spoken.length]!;
        const start = from % words.length;
        const quote = words.slice(start, start + 1 + (length % (words.length - start))).join(' ');
        expect(findQuote({ turns: said }, quote, 'either')).toHaveProperty('evidence');
        expect(findQuote({ turns: said }, `${quote} zebra`, 'either')).toEqual({ fault: 'not_in_transcript' });
      }),
    );
  });
});

describe('grading', () => {
  const rubric: Rubric = {
    id: 'r',
    version: '1',
    criteria: [
      { id: 'greeting', category: 'opening', question: '?', weight: 10, evidenceFrom: 'agent' },
      { id: 'apology', category: 'care', question: '?', weight: 20, evidenceFrom: 'agent' },
      { id: 'objection', category: 'care', question: '?', weight: 30, evidenceFrom: 'agent', notApplicableWhen: 'there is none' },
    ],
  };
  const claim = (criterion: string, answer: 'yes' | 'no' | 'not_applicable', ...quotes: string[]) => ({ criterion, answer, reason: '', quotes });
  const graded = (...claims: ReturnType<typeof claim>[]) => {
    const answers = checkAnswers(rubric, { turns }, claims);
    return { verdicts: answers.map(({ verdict }) => verdict), ...grade(rubric, answers, 70) };
  };

  it('adds up what is evidenced, of what is applicable', () => {
    expect(graded(claim('greeting', 'yes', 'Good morning'), claim('apology', 'no'), claim('objection', 'not_applicable'))).toMatchObject({
      verdicts: ['yes', 'no', 'not_applicable'],
      total_score_percent: 33,
      pass: false,
      categories: { opening: { score_percent: 100, points: 10, out_of: 10 }, care: { score_percent: 0, points: 0, out_of: 20 } },
    });
  });

  it('gives no points for a claim without evidence, nor for words of the customer', () => {
    expect(graded(claim('greeting', 'yes', 'Welcome to us'), claim('apology', 'yes', 'the line is dead'), claim('objection', 'yes')).verdicts).toEqual(['not_evidenced', 'not_evidenced', 'not_evidenced']);
  });

  it('takes "not applicable" only where the rubric allows it, and misses nothing that was not answered', () => {
    expect(graded(claim('greeting', 'not_applicable'), claim('invented', 'yes', 'Good morning')).verdicts).toEqual(['no', 'not_evidenced', 'not_evidenced']);
  });

  it('has no score when nothing applies', () => {
    expect(grade({ ...rubric, criteria: [rubric.criteria[2]!] }, checkAnswers({ ...rubric, criteria: [rubric.criteria[2]!] }, { turns }, [claim('objection', 'not_applicable')]), 70)).toMatchObject({ total_score_percent: null, pass: null });
  });
});

describe('transcripts', () => {
  it('joins what one speaker says in a row, in the order of time', () => {
    const merged = toTurns([
      { speaker: 'customer', channel: 0, startMs: 5_000, endMs: 6_000, text: 'fine' },
      { speaker: 'agent', channel: 1, startMs: 0, endMs: 1_000, text: ' hello ' },
      { speaker: 'agent', channel: 1, startMs: 1_200, endMs: 2_000, text: 'there' },
      { speaker: 'agent', channel: 1, startMs: 9_000, endMs: 9_500, text: 'later' },
      { speaker: 'agent', channel: 1, startMs: 9_600, endMs: 9_700, text: '  ' },
    ]);
    expect(merged.map(({ speaker, startMs, endMs, text }) => [speaker, startMs, endMs, text])).toEqual([['agent', 0, 2_000, 'hello there'], ['customer', 5_000, 6_000, 'fine'], ['agent', 9_000, 9_500, 'later']]);
  });

  it('exports captions that cannot be broken by what is said', () => {
    const spoken = [{ speaker: 'agent', startMs: 3_723_004, endMs: 3_723_004, text: 'a <b>\n\n--> & "c"' }];
    expect(toWebVtt({ turns: spoken })).toBe('WEBVTT\n\n01:02:03.004 --> 01:02:03.005\n<v agent>a &lt;b&gt; --&gt; &amp; "c"\n');
    expect(toSrt({ turns: spoken })).toBe('1\n01:02:03,004 --> 01:02:03,005\nagent: a <b> --> & "c"\n');
  });

  it('cleans text of what is not seen', () => {
    expect(clean('a\u0000b\u202Ec\u200Bd\n\te', 100)).toBe('a b c d e');
    expect(clean('x'.repeat(10), 3)).toBe('xxx');
    expect(clean('ab\u{1F600}', 3)).toBe('ab');
    expect(clean('a\uD83Db', 9)).toBe('ab');
  });
});

describe('patterns', () => {
  const transcript = { turns: [['agent', 'That costs ninety.'], ['customer', 'That is too expensive for us.'], ['agent', 'Too expensive? I see.'], ['customer', 'Yes, too expensive. I will cancel.']].map(([speaker, text], index) => ({ speaker: speaker!, text: text!, startMs: index * 1_000, endMs: index * 1_000 + 900 })) };
  it('are kept where the customer’s own words show them, once each, in the order of the call', () => {
    const claimed = [
      { kind: 'churn_risk' as const, quote: 'I will cancel' },
      { kind: 'objection_price' as const, quote: 'That is too expensive for us' },
      { kind: 'objection_price' as const, quote: 'that is too expensive' },
      { kind: 'objection_trust' as const, quote: 'I do not believe you' },
      { kind: 'complaint' as const, quote: 'I see' },
    ];
    expect(checkPatterns(transcript, claimed).map(({ kind, evidence }) => [kind, evidence.turn])).toEqual([['objection_price', 1], ['churn_risk', 3]]);
  });
});
