import { createHash } from 'node:crypto';
import type { ObjectStore, Upload } from '../adapters/objects/object-store.ts';
import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { CallSource, RecordingLink, RecordingStream } from '../adapters/sources/source.ts';
import type { Config } from '../config.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { StoredRecording } from '../db/schema.ts';
import type { RecordingActivities } from '../domain/activities.ts';
import type { CallKey } from '../domain/call.ts';
import type { RecordingOutcome } from '../domain/outcomes.ts';
import { AftercallError, isAftercallError } from '../domain/errors.ts';
import { type RecordingFormat, recordingKey } from '../domain/ids.ts';
import { nextLook, sniff, SNIFF_BYTES, wavEnd } from '../domain/recording.ts';
import { signal } from './context.ts';
import type { SourceRecords } from './source-record.ts';

interface Dependencies {
  adaptersOf: AdaptersOf;
  objects: ObjectStore;
  calls: Calls;
  projects: Projects;
  records: Pick<SourceRecords, 'copy'>;
  config: Pick<Config, 'MAX_RECORDING_MB'>;
}

const CONTENT_TYPE: Record<RecordingFormat, string> = { wav: 'audio/wav', mp3: 'audio/mpeg' };

export const createRecordingActivities = ({ adaptersOf, objects, calls, projects, records, config }: Dependencies): RecordingActivities => {
  const maxBytes = config.MAX_RECORDING_MB * 1024 * 1024;

  return {
    /**
     * Copies a call's recording into the object store, once per version.
     *
     * Streams; memory does not grow with the recording. An upload that a killed worker left behind is
     * taken up where it stopped if the source serves ranges.
     *
     * @throws RECORDING_UNUSABLE final: empty, not audio
     * @throws RECORDING_TOO_LARGE final
     * @throws RECORDING_TRUNCATED retryable: fewer bytes came than were announced, or than the file itself says
     */
    async fetchRecording({ call, looks }) {
      await calls.beginStep(call, 'recording');
      const { details } = await calls.get(call);
      const { recording: before } = await calls.getVersion(call);
      const { sources } = await adaptersOf(call.project);
      const handedIn = sources.get('upload');
      const isThere = async ({ key, bytes }: { key: string; bytes: number }): Promise<boolean> => (await objects.head(key, { signal: signal() }))?.bytes === bytes;
      const keep = async (stored: StoredRecording): Promise<RecordingOutcome> => {
        await calls.keepResult(call, 'recording', stored);
        await handedIn.recordingStored?.(call.callId, stored);
        return { state: 'stored', bytes: stored.bytes };
      };
      if (before && (await isThere(before))) return keep(before);
      if (details.status === 'abandoned') return { state: 'none', result: 'abandoned' };

      const came = await handedIn.findGiven?.(call.callId);
      // Uploaded with the call, and copied to its place by an earlier version.
      if (came?.audio?.key === recordingKey(call, came?.audio?.format ?? 'wav') && (await isThere(came.audio))) return keep({ ...came.audio, recordingId: call.callId, fileName: `${call.callId}.${came.audio.format}` });
      // What came with the call goes before what its source has.
      const source = came?.hasRecording ? handedIn : sources.get(details.source);
      const hasWords = await records.copy(call);
      const link = await source.findRecording(call.callId, signal());
      if (!link) {
        if (came?.hasTranscript) return { state: 'not_needed' };
        // What was said is known; the recording is waited for all the same, as long as there may be one.
        const without: RecordingOutcome = hasWords ? { state: 'not_needed' } : { state: 'none', result: 'no_recording' };
        if (details.captureRequested === false) return without;
        const next = nextLook(details, looks, await projects.settings(call.project), Date.now());
        if (next.state === 'never') return without;
        await calls.setState(call, { state: 'waiting_for_recording', step: 'recording' });
        return { state: 'not_ready', lookAgainInMs: next.lookAgainInMs };
      }

      const stored = await copyRecording({ source, link, objects, call, maxBytes, signal: signal() }).catch(async (error: unknown) => {
        if (!isAftercallError(error) || error.code !== 'RECORDING_LINK_EXPIRED') throw error;
        // Links live for minutes and a busy queue may hold one longer: ask once more before giving up the attempt.
        const fresh = await source.findRecording(call.callId, signal());
        if (!fresh) throw error;
        return copyRecording({ source, link: fresh, objects, call, maxBytes, signal: signal() });
      });
      return keep(stored);
    },
  };
};

export interface CopyRecording {
  source: CallSource;
  link: RecordingLink;
  objects: ObjectStore;
  call: CallKey;
  maxBytes: number;
  signal: AbortSignal;
}

/**
 * Streams a recording to its place and hashes it on the way.
 *
 * A copy that breaks off, or whose worker is shut down or killed, leaves its upload for the next attempt.
 * It is thrown away when the source starts over or the file turns out to be wrong. For calls that are
 * given up in between, a bucket needs a lifecycle rule (AbortIncompleteMultipartUpload): S3 bills
 * unfinished uploads.
 */
export const copyRecording = async (copy: CopyRecording): Promise<StoredRecording> => {
  const { objects, link, call, signal: cancelled } = copy;
  const begun: Begun = { target: await findLeftover(objects, call, cancelled) };
  try {
    const { format, bytes, sha256 } = await pour(copy, begun);
    return {
      key: recordingKey(call, format),
      bytes,
      sha256,
      format,
      ...(link.startedAtMs !== undefined && link.stoppedAtMs !== undefined && link.stoppedAtMs > link.startedAtMs ? { durationMs: link.stoppedAtMs - link.startedAtMs } : {}),
      ...(link.channels ? { channels: link.channels } : {}),
      recordingId: link.recordingId,
      fileName: link.fileName,
    };
  } catch (error) {
    if (isAftercallError(error) && !error.retryable) await drop(begun);
    else await begun.target?.upload.pause();
    throw error;
  }
};

interface Target {
  format: RecordingFormat;
  upload: Upload;
}

/** The upload that is under way, if one is. */
interface Begun {
  target: Target | undefined;
}

const drop = async (begun: Begun): Promise<void> => {
  await begun.target?.upload.abort();
  begun.target = undefined;
};

/** An earlier attempt's upload can only be under one of two keys, and says how far it came. */
const findLeftover = async (objects: ObjectStore, call: CallKey, cancelled: AbortSignal): Promise<Target | undefined> => {
  for (const format of ['wav', 'mp3'] as const) {
    const upload = await objects.openUpload(recordingKey(call, format), { contentType: CONTENT_TYPE[format], signal: cancelled });
    if (upload.offset > 0) return { format, upload };
    await upload.abort();
  }
  return undefined;
};

/** Opens the recording behind what is stored already, or from its start, having dropped what was stored. */
const openRest = async ({ source, link, signal: cancelled }: CopyRecording, begun: Begun): Promise<RecordingStream & { overlap: number }> => {
  const openAt = (offset: number): Promise<RecordingStream> => source.openRecording(link, { offset, signal: cancelled });
  if (!begun.target) return { ...(await openAt(0)), overlap: 0 };
  // One byte is fetched twice: a range that begins where the file ends is refused, and an earlier attempt
  // may have been killed with every byte stored.
  const from = begun.target.upload.offset - 1;
  const rest = await openAt(from).catch((error: unknown) => {
    if (isAftercallError(error) && error.code === 'UPSTREAM_REJECTED') return undefined;
    throw error;
  });
  if (rest?.offset === from) return { ...rest, overlap: 1 };
  // The source serves no ranges, or its file is a shorter one now.
  await drop(begun);
  return { ...(rest?.offset === 0 ? rest : await openAt(0)), overlap: 0 };
};

const pour = async (copy: CopyRecording, begun: Begun): Promise<{ format: RecordingFormat; bytes: number; sha256: string }> => {
  const { link, objects, call, maxBytes, signal: cancelled } = copy;
  const { body, totalBytes: announced, overlap } = await openRest(copy, begun);
  if (announced !== undefined && announced > maxBytes) {
    await discard(body);
    throw tooLarge(announced, maxBytes);
  }
  // A hash cannot be taken up from another process: then the finished object is read back instead.
  const hash = begun.target ? undefined : createHash('sha256');
  const write = async ({ upload }: Target, chunk: Uint8Array): Promise<void> => {
    if (upload.offset + chunk.byteLength > maxBytes) throw tooLarge(upload.offset + chunk.byteLength, maxBytes);
    hash?.update(chunk);
    await upload.write(chunk);
  };

  let head: Uint8Array = new Uint8Array(0);
  let skip = overlap;
  for await (const chunk of body) {
    cancelled.throwIfAborted();
    if (begun.target) {
      await write(begun.target, chunk.subarray(skip));
      skip = Math.max(0, skip - chunk.byteLength);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.byteLength >= SNIFF_BYTES) await write(await begin(copy, begun, head), head);
  }
  const target = begun.target ?? (await begin(copy, begun, head));
  if (target.upload.offset === 0) await write(target, head);

  const bytes = target.upload.offset;
  if (announced !== undefined && bytes !== announced) {
    // More than there should be cannot be continued, less can.
    if (bytes > announced) await drop(begun);
    throw truncated(link, `came with ${bytes} of ${announced} bytes`);
  }
  if (hash) {
    if (endsEarly(target.format, head, bytes)) {
      await drop(begun);
      throw truncated(link, `has ${bytes} bytes, fewer than its own header says`);
    }
    await target.upload.complete();
    return { format: target.format, bytes, sha256: hash.digest('hex') };
  }
  await target.upload.complete();
  const key = recordingKey(call, target.format);
  const stored = await readBack(objects, key, cancelled);
  if (stored.bytes === bytes && !endsEarly(target.format, stored.head, bytes)) return { format: target.format, bytes, sha256: stored.sha256 };
  // The parts do not belong together: the source's file changed between the attempts, or was cut off.
  begun.target = undefined;
  await objects.delete(key, { signal: cancelled });
  throw truncated(link, `was put together from two attempts to ${stored.bytes} bytes, which do not fit its header`);
};

/** Starts the upload, once it is known what the file is. */
const begin = async ({ link, objects, call, signal: cancelled }: CopyRecording, begun: Begun, head: Uint8Array): Promise<Target> => {
  const sniffed = sniff(head);
  if (sniffed.format === undefined) {
    throw new AftercallError('RECORDING_UNUSABLE', `The recording ${link.fileName} is no audio: it seems to be ${sniffed.seemsToBe}.`, {
      advice: 'Check the recording in the source. Give the call up, or retry once it is mended there.',
    });
  }
  const { format } = sniffed;
  const upload = await objects.openUpload(recordingKey(call, format), { contentType: CONTENT_TYPE[format], signal: cancelled });
  begun.target = { format, upload };
  if (upload.offset > 0) {
    throw new AftercallError('CONFLICT', `The recording ${link.fileName} is being copied by another worker.`, {
      advice: 'It is tried again, from where that copy stands then.',
    });
  }
  return begun.target;
};

/** Whether a WAV says itself that more sound should follow. */
const endsEarly = (format: RecordingFormat, head: Uint8Array, bytes: number): boolean => format === 'wav' && (wavEnd(head) ?? 0) > bytes;

/** Hashes a stored object and shows its beginning. */
const readBack = async (objects: ObjectStore, key: string, cancelled: AbortSignal): Promise<{ bytes: number; sha256: string; head: Uint8Array }> => {
  const hash = createHash('sha256');
  let bytes = 0;
  let head: Uint8Array = new Uint8Array(0);
  for await (const chunk of (await objects.open(key, { signal: cancelled }))?.body ?? []) {
    cancelled.throwIfAborted();
    if (head.byteLength < SNIFF_BYTES) head = Buffer.concat([head, chunk.subarray(0, SNIFF_BYTES - head.byteLength)]);
    hash.update(chunk);
    bytes += chunk.byteLength;
  }
  return { bytes, sha256: hash.digest('hex'), head };
};

/** Lets a body go that is not wanted, and its connection with it. */
const discard = async (body: AsyncIterable<Uint8Array>): Promise<void> => {
  for await (const _chunk of body) break;
};

const truncated = (link: RecordingLink, what: string): AftercallError =>
  new AftercallError('RECORDING_TRUNCATED', `The recording ${link.fileName} ${what}.`, {
    advice: 'It is fetched again, from where it stopped if it can be. If this goes on, check the recording in the source.',
  });

const tooLarge = (bytes: number, maxBytes: number): AftercallError =>
  new AftercallError('RECORDING_TOO_LARGE', `The recording has at least ${bytes} bytes; ${maxBytes} are allowed.`, {
    advice: 'Raise MAX_RECORDING_MB and retry, or give the call up.',
  });
