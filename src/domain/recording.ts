import type { CallDetails } from './call.ts';
import type { RecordingFormat } from './ids.ts';
import type { ProjectSettings } from './settings.ts';

/** Bytes that `sniff` and `wavEnd` want to see. Chunks of text may stand before a WAV's sound. */
export const SNIFF_BYTES = 4_096;

export type Sniffed = { format: RecordingFormat } | { format?: never; seemsToBe: string };

/** A byte order mark, as it looks in Latin-1. */
const UTF8_MARK = '\u00ef\u00bb\u00bf';

/** What a file is by its first bytes; names and content types of recordings are not to be trusted. */
export const sniff = (head: Uint8Array): Sniffed => {
  if (head.byteLength === 0) return { seemsToBe: 'an empty file' };
  const text = Buffer.from(head.subarray(0, SNIFF_BYTES)).toString('latin1');
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WAVE') return { format: 'wav' };
  if (text.startsWith('ID3') || isMpegFrame(head)) return { format: 'mp3' };
  const start = (text.startsWith(UTF8_MARK) ? text.slice(UTF8_MARK.length) : text).trimStart().toLowerCase();
  if (start.startsWith('<?xml') || start.startsWith('<error')) return { seemsToBe: 'an XML document' };
  if (start.startsWith('<!doctype html') || /^<[^>]*>[^]*<(html|head|body)\b/.test(start) || start.startsWith('<html')) return { seemsToBe: 'an HTML page' };
  if (start.startsWith('{') || start.startsWith('[')) return { seemsToBe: 'JSON' };
  return { seemsToBe: 'neither WAV nor MP3' };
};

/** Eleven set bits, then layer III. Without the layer, a UTF-16 text's mark and AAC would pass too. */
const isMpegFrame = ([first = 0, second = 0]: Uint8Array): boolean => first === 0xff && (second & 0xe0) === 0xe0 && (second & 0x06) === 0x02;

/** Writers that cannot seek back leave 0, or the largest number they dare, as the length of the sound. */
const LARGEST_MEANT_LENGTH = 0x7fff_0000;

/**
 * Where a WAV's sound ends by its own header, in bytes from the file's start.
 *
 * @returns undefined when the header does not say: written while streaming, or the sound starts behind `head`
 */
export const wavEnd = (head: Uint8Array): number | undefined => {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  for (let at = 12; at + 8 <= head.byteLength; ) {
    const name = Buffer.from(head.subarray(at, at + 4)).toString('latin1');
    const length = view.getUint32(at + 4, true);
    if (name === 'data') return length === 0 || length > LARGEST_MEANT_LENGTH ? undefined : at + 8 + length;
    // Chunks are padded to an even length.
    at += 8 + length + (length % 2);
  }
  return undefined;
};

const LONGEST_WAIT_MS = 15 * 60_000;

export type NextLook = { state: 'wait'; lookAgainInMs: number } | { state: 'never' };

/**
 * When to look again for a recording that is not published.
 *
 * Waits double from `recordingFirstLookSeconds` up to 15 minutes, until the call's last sign of life is
 * `recordingDeadlineMinutes` past. A call that is older than that gets this one look.
 *
 * @param looks how many looks found nothing before this one
 */
export const nextLook = (
  call: Pick<CallDetails, 'startedAtMs' | 'updatedAtMs'>,
  looks: number,
  settings: Pick<ProjectSettings, 'recordingFirstLookSeconds' | 'recordingDeadlineMinutes'>,
  nowMs: number,
): NextLook => {
  const deadlineMs = Math.max(call.startedAtMs, call.updatedAtMs ?? 0) + settings.recordingDeadlineMinutes * 60_000;
  if (nowMs >= deadlineMs) return { state: 'never' };
  const wait = Math.min(settings.recordingFirstLookSeconds * 1_000 * 2 ** Math.min(looks, 20), LONGEST_WAIT_MS);
  // The last look comes when the deadline does, not after it.
  return { state: 'wait', lookAgainInMs: Math.max(1_000, Math.min(wait, deadlineMs - nowMs)) };
};
