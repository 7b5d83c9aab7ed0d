import type { Transcript } from './transcript.ts';

/** A time as captions write it; WebVTT takes a dot before the milliseconds, SRT a comma. */
const clock = (ms: number, separator: '.' | ','): string => {
  const two = (value: number): string => String(value).padStart(2, '0');
  const seconds = Math.floor(ms / 1_000);
  return `${two(Math.floor(seconds / 3_600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}${separator}${String(ms % 1_000).padStart(3, '0')}`;
};

/** Players drop cues that end where they start. */
const endOf = (startMs: number, endMs: number): number => Math.max(endMs, startMs + 1);

/** A line break would end the cue's text. */
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

const escapeVtt = (text: string): string => oneLine(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** WebVTT with a voice tag per cue (W3C WebVTT, 3.2). */
export const toWebVtt = ({ turns }: Pick<Transcript, 'turns'>): string =>
  [
    'WEBVTT\n',
    // A ">" would end the tag.
    ...turns.map(({ speaker, startMs, endMs, text }) => `${clock(startMs, '.')} --> ${clock(endOf(startMs, endMs), '.')}\n<v ${escapeVtt(speaker)}>${escapeVtt(text)}\n`),
  ].join('\n');

/** SubRip. It has no voice tag, so the speaker stands before the words. */
export const toSrt = ({ turns }: Pick<Transcript, 'turns'>): string =>
  turns
    .map(({ speaker, startMs, endMs, text }, index) => `${index + 1}\n${clock(startMs, ',')} --> ${clock(endOf(startMs, endMs), ',')}\n${oneLine(speaker)}: ${oneLine(text)}\n`)
    .join('\n');
