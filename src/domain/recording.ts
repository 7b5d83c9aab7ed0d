import type { CallDetails } from './call.ts';
import type { RecordingFormat } from './ids.ts';
import type { ProjectSettings } from './settings.ts';

/** Bytes that `sniff` wants to see. */
export const SNIFF_BYTES = 64;

export type Sniffed = { format: RecordingFormat } | { format?: never; seemsToBe: string };

const MPEG_SYNC_HIGH = 0xff;
const MPEG_SYNC_LOW = 0xe0;

/** What a file is by its first bytes; names and content types of recordings are not to be trusted. */
export const sniff = (head: Uint8Array): Sniffed => {
  if (head.byteLength === 0) return { seemsToBe: 'an empty file' };
  const text = Buffer.from(head.subarray(0, SNIFF_BYTES)).toString('latin1');
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WAVE') return { format: 'wav' };
  if (text.startsWith('ID3')) return { format: 'mp3' };
  if (head[0] === MPEG_SYNC_HIGH && ((head[1] ?? 0) & MPEG_SYNC_LOW) === MPEG_SYNC_LOW) return { format: 'mp3' };
  const start = text.trimStart().toLowerCase();
  if (start.startsWith('<!doctype html') || start.startsWith('<html')) return { seemsToBe: 'an HTML page' };
  if (start.startsWith('<?xml') || start.startsWith('<error')) return { seemsToBe: 'an XML document' };
  if (start.startsWith('{') || start.startsWith('[')) return { seemsToBe: 'JSON' };
  return { seemsToBe: 'neither WAV nor MP3' };
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
