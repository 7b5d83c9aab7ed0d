import { createHash, type Hash } from 'node:crypto';
import type { ObjectStore, Upload } from '../adapters/objects/object-store.ts';
import type { CallSource, RecordingLink } from '../adapters/sources/source.ts';
import type { Config } from '../config.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { StoredRecording } from '../db/schema.ts';
import type { RecordingActivities } from '../domain/activities.ts';
import { AftercallError, isAftercallError } from '../domain/errors.ts';
import { type RecordingFormat, recordingKey } from '../domain/ids.ts';
import { nextLook, sniff, SNIFF_BYTES } from '../domain/recording.ts';
import { signal } from './context.ts';

interface Dependencies {
  sources: { get(name: string): CallSource };
  objects: ObjectStore;
  calls: Calls;
  projects: Projects;
  config: Pick<Config, 'MAX_RECORDING_MB'>;
}

const CONTENT_TYPE: Record<RecordingFormat, string> = { wav: 'audio/wav', mp3: 'audio/mpeg' };

export const createRecordingActivities = ({ sources, objects, calls, projects, config }: Dependencies): RecordingActivities => {
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
     * @throws RECORDING_TRUNCATED retryable: fewer bytes came than were announced
     */
    async fetchRecording({ call, looks }) {
      await calls.beginStep(call, 'recording');
      const { details } = await calls.get(call);
      const { recording: before } = await calls.getVersion(call);
      if (before && (await objects.head(before.key, { signal: signal() }))?.bytes === before.bytes) return { state: 'stored', bytes: before.bytes };
      if (details.status === 'abandoned') return { state: 'none', result: 'abandoned' };

      const source = sources.get(details.source);
      const link = await source.findRecording(call.callId, signal());
      if (!link) {
        if (details.captureRequested === false) return { state: 'none', result: 'no_recording' };
        const next = nextLook(details, looks, await projects.settings(call.project), Date.now());
        if (next.state === 'never') return { state: 'none', result: 'no_recording' };
        await calls.setState(call, { state: 'waiting_for_recording', step: 'recording' });
        return { state: 'not_ready', lookAgainInMs: next.lookAgainInMs };
      }

      const stored = await copyRecording({ source, link, objects, callId: call.callId, maxBytes, signal: signal() }).catch(async (error: unknown) => {
        if (!isAftercallError(error) || error.code !== 'RECORDING_LINK_EXPIRED') throw error;
        // Links live for minutes and a busy queue may hold one longer: ask once more before giving up the attempt.
        const fresh = await source.findRecording(call.callId, signal());
        if (!fresh) throw error;
        return copyRecording({ source, link: fresh, objects, callId: call.callId, maxBytes, signal: signal() });
      });
      await calls.keepResult(call, 'recording', stored);
      return { state: 'stored', bytes: stored.bytes };
    },
  };
};

export interface CopyRecording {
  source: CallSource;
  link: RecordingLink;
  objects: ObjectStore;
  callId: string;
  maxBytes: number;
  signal: AbortSignal;
}

/** Streams a recording to its place and hashes it on the way. */
export const copyRecording = async ({ source, link, objects, callId, maxBytes, signal: cancelled }: CopyRecording): Promise<StoredRecording> => {
  // An earlier attempt's upload can only be under one of two keys, and says how far it came.
  const leftover = await findLeftover(objects, callId, cancelled);
  const stream = await source.openRecording(link, { offset: leftover?.upload.offset ?? 0, signal: cancelled });
  const announced = stream.totalBytes;
  let target = leftover;
  if (target && (stream.offset !== target.upload.offset || (announced !== undefined && announced < target.upload.offset))) {
    // The source starts over, or its file is another one now: so do we.
    await target.upload.abort();
    target = undefined;
  }
  if (announced !== undefined && announced > maxBytes) throw tooLarge(announced, maxBytes);

  const hash = target ? undefined : createHash('sha256');
  try {
    target = await pour({ body: stream.body, target, hash, callId, link, objects, maxBytes, cancelled });
    if (announced !== undefined && target.upload.offset !== announced) {
      throw new AftercallError('RECORDING_TRUNCATED', `The recording ${link.fileName} ended after ${target.upload.offset} of ${announced} bytes.`, {
        advice: 'The rest is fetched at the next try. If this goes on, check the recording in the source.',
      });
    }
    await target.upload.complete();
  } catch (error) {
    // What came whole is kept for the next attempt; what is wrong in itself is thrown away.
    const final = isAftercallError(error) && !error.retryable;
    if (target) await (final ? target.upload.abort() : target.upload.pause());
    throw error;
  }
  const key = recordingKey(callId, target.format);
  return {
    key,
    bytes: target.upload.offset,
    // A hash cannot be taken up from another process: the finished object is read back instead.
    sha256: (hash ?? (await hashObject(objects, key, cancelled))).digest('hex'),
    format: target.format,
    ...(link.startedAtMs !== undefined && link.stoppedAtMs !== undefined && link.stoppedAtMs > link.startedAtMs ? { durationMs: link.stoppedAtMs - link.startedAtMs } : {}),
    ...(link.channels ? { channels: link.channels } : {}),
    recordingId: link.recordingId,
    fileName: link.fileName,
  };
};

interface Target {
  format: RecordingFormat;
  upload: Upload;
}

const findLeftover = async (objects: ObjectStore, callId: string, cancelled: AbortSignal): Promise<Target | undefined> => {
  for (const format of ['wav', 'mp3'] as const) {
    const upload = await objects.openUpload(recordingKey(callId, format), { contentType: CONTENT_TYPE[format], signal: cancelled });
    if (upload.offset > 0) return { format, upload };
    await upload.abort();
  }
  return undefined;
};

interface Pour {
  body: AsyncIterable<Uint8Array>;
  target: Target | undefined;
  hash: Hash | undefined;
  callId: string;
  link: RecordingLink;
  objects: ObjectStore;
  maxBytes: number;
  cancelled: AbortSignal;
}

const pour = async ({ body, target, hash, callId, link, objects, maxBytes, cancelled }: Pour): Promise<Target> => {
  let head: Uint8Array = new Uint8Array(0);
  let into = target;
  const write = async (chunk: Uint8Array): Promise<void> => {
    if (into!.upload.offset + chunk.byteLength > maxBytes) throw tooLarge(into!.upload.offset + chunk.byteLength, maxBytes);
    hash?.update(chunk);
    await into!.upload.write(chunk);
  };
  const open = async (): Promise<void> => {
    const sniffed = sniff(head);
    if (sniffed.format === undefined) {
      throw new AftercallError('RECORDING_UNUSABLE', `The recording ${link.fileName} is no audio: it seems to be ${sniffed.seemsToBe}.`, {
        advice: 'Check the recording in the source. Give the call up, or retry once it is mended there.',
      });
    }
    into = { format: sniffed.format, upload: await objects.openUpload(recordingKey(callId, sniffed.format), { contentType: CONTENT_TYPE[sniffed.format], signal: cancelled }) };
    await write(head);
  };
  for await (const chunk of body) {
    cancelled.throwIfAborted();
    if (into) await write(chunk);
    else {
      head = Buffer.concat([head, chunk]);
      if (head.byteLength >= SNIFF_BYTES) await open();
    }
  }
  if (!into) await open();
  return into!;
};

const hashObject = async (objects: ObjectStore, key: string, cancelled: AbortSignal): Promise<Hash> => {
  const hash = createHash('sha256');
  const stored = await objects.open(key, { signal: cancelled });
  for await (const chunk of stored?.body ?? []) hash.update(chunk);
  return hash;
};

const tooLarge = (bytes: number, maxBytes: number): AftercallError =>
  new AftercallError('RECORDING_TOO_LARGE', `The recording has at least ${bytes} bytes; ${maxBytes} are allowed.`, {
    advice: 'Raise MAX_RECORDING_MB and retry, or give the call up.',
  });
