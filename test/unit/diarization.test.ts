import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { assignSpeakers, type SpeakerSegment, type TimedSpeech } from '../../src/domain/diarization.ts';

/** `Good morning` from 0, each word half a second. */
const spoken = (text: string, fromMs = 0, msPerWord = 500): TimedSpeech => {
  const words = text.split(' ').map((word, index) => ({ text: word, startMs: fromMs + index * msPerWord, endMs: fromMs + (index + 1) * msPerWord }));
  return { text, startMs: fromMs, endMs: words.at(-1)!.endMs, words };
};
const timed = (text: string, startMs: number, endMs: number): TimedSpeech => ({ text, startMs, endMs });
const by = (speaker: string, startMs: number, endMs: number): SpeakerSegment => ({ speaker, startMs, endMs });
const told = (speech: TimedSpeech[], segments: SpeakerSegment[]) => assignSpeakers(speech, segments).map(({ speaker, text, startMs, endMs }) => [speaker, text, startMs, endMs]);

describe('who said what', () => {
  const cases: [string, TimedSpeech[], SpeakerSegment[], ReturnType<typeof told>][] = [
    ['cuts a segment between words where the speaker changes', [spoken('Good morning. Hello, who is there?')], [by('S1', 0, 1_000), by('S0', 1_000, 3_000)], [['A', 'Good morning.', 0, 1_000], ['B', 'Hello, who is there?', 1_000, 3_000]]],
    ['gives a word to whoever has more of it', [spoken('one two three')], [by('x', 0, 700), by('y', 700, 1_500)], [['A', 'one', 0, 500], ['B', 'two three', 500, 1_500]]],
    ['gives a tie to whoever spoke last', [spoken('one two three')], [by('x', 0, 750), by('y', 750, 1_500)], [['A', 'one two', 0, 1_000], ['B', 'three', 1_000, 1_500]]],
    ['lets nobody break in whose share is smaller', [spoken('one two')], [by('x', 0, 1_000), by('y', 600, 800)], [['A', 'one two', 0, 1_000]]],
    ['gives a pause to whoever is nearest', [spoken('one', 2_000)], [by('x', 0, 1_000), by('y', 2_700, 3_000)], [['A', 'one', 2_000, 2_500]]],
    ['gives a whole segment by the largest share where no word has a time', [timed('yes', 0, 900), timed('no', 900, 2_000)], [by('x', 0, 1_000), by('y', 1_000, 2_000)], [['A', 'yes', 0, 900], ['B', 'no', 900, 2_000]]],
    ['adds up the shares of a speaker', [timed('all of it', 0, 1_000)], [by('x', 0, 300), by('y', 300, 700), by('x', 700, 1_000)], [['A', 'all of it', 0, 1_000]]],
    ['letters speakers by who speaks first, not by their labels', [timed('first', 0, 500), timed('second', 500, 900)], [by('SPEAKER_07', 0, 500), by('SPEAKER_00', 500, 900)], [['A', 'first', 0, 500], ['B', 'second', 500, 900]]],
    ['puts speech in order first', [timed('second', 500, 900), timed('first', 0, 500)], [by('x', 0, 500), by('y', 500, 900)], [['A', 'first', 0, 500], ['B', 'second', 500, 900]]],
    ['leaves out what is empty', [timed('  ', 0, 500), timed('yes', 500, 900)], [by('x', 0, 900)], [['A', 'yes', 500, 900]]],
    ['knows nothing from a diarizer that heard nobody', [timed('yes', 0, 900)], [], []],
  ];
  it.each(cases)('%s', (_what, speech, segments, expected) => {
    expect(told(speech, segments)).toEqual(expected);
  });

  it('keeps the text’s punctuation when its words come without', () => {
    const speech: TimedSpeech = { ...timed('“Good morning,” he said; fine.', 0, 2_500), words: ['good', 'morning', 'he', 'said', 'fine'].map((text, index) => ({ text, startMs: index * 500, endMs: index * 500 + 500 })) };
    expect(told([speech], [by('x', 0, 1_000), by('y', 1_000, 2_500)]).map(([, text]) => text)).toEqual(['“Good morning,”', 'he said; fine.']);
  });
  it('cuts text of a script that separates no words', () => {
    const speech: TimedSpeech = { ...timed('您好请问您是谁', 0, 700), words: ['您好', '请问', '您是谁'].map((text, index) => ({ text, startMs: index * 200, endMs: index * 200 + 200 })) };
    expect(told([speech], [by('x', 0, 200), by('y', 200, 700)]).map(([, text]) => text)).toEqual(['您好', '请问您是谁']);
  });
  it('takes the words themselves when they are not the text’s', () => {
    const speech: TimedSpeech = { ...timed('It costs $5.', 0, 1_500), words: ['it', 'costs', 'five dollars'].map((text, index) => ({ text, startMs: index * 500, endMs: index * 500 + 500 })) };
    expect(told([speech], [by('x', 0, 1_000), by('y', 1_000, 1_500)]).map(([, text]) => text)).toEqual(['it costs', 'five dollars']);
  });
  it('keeps channel and confidence', () => {
    expect(assignSpeakers([{ ...timed('yes', 0, 900), channel: 1, confidence: 0.5 }], [by('x', 0, 900)])).toEqual([{ speaker: 'A', text: 'yes', startMs: 0, endMs: 900, channel: 1, confidence: 0.5 }]);
  });

  it('loses no word and makes up none, whoever speaks', () => {
    const times = fc.integer({ min: 0, max: 20_000 });
    const segment = fc.record({ speaker: fc.constantFrom('x', 'y', 'z'), startMs: times, length: fc.integer({ min: 1, max: 5_000 }) }).map(({ speaker, startMs, length }) => by(speaker, startMs, startMs + length));
    const line = fc.record({ words: fc.array(fc.constantFrom('yes', 'no,', 'yes.', 'well', 'no'), { minLength: 1, maxLength: 12 }), from: times }).map(({ words, from }) => spoken(words.join(' '), from, 300));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), fc.array(segment, { minLength: 1, maxLength: 8 }), (speech, segments) => {
        const pieces = assignSpeakers(speech, segments);
        const inOrder = speech.toSorted((a, b) => a.startMs - b.startMs);
        expect(pieces.map(({ text }) => text).join(' ')).toBe(inOrder.map(({ text }) => text).join(' '));
        for (const { startMs, endMs } of pieces) expect(endMs).toBeGreaterThan(startMs);
      }),
    );
  });
});
