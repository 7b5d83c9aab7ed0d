import type { GivenCalls } from '../../db/given-calls.ts';
import type { StoredRecording } from '../../db/schema.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { Guard } from '../http/guard.ts';
import type { ObjectStore } from '../objects/object-store.ts';
import { openDownload } from './download.ts';
import type { CallSource, RecordingStream } from './source.ts';

export interface GivenSourceOptions {
  project: string;
  name: string;
  given: GivenCalls;
  objects: ObjectStore;
  /** Links come from outside. */
  guard: Guard;
  timeoutMs: number;
}

/** Marks the address of a recording that was uploaded; nothing but this file makes or reads one. */
const UPLOADED = 'uploaded:';

/** Calls that were handed in: their recordings lie where the call said, or in the object store. There is nothing to list. */
export const createGivenSource = ({ project, name, given, objects, guard, timeoutMs }: GivenSourceOptions): CallSource => ({
  name,

  async listCalls() {
    throw new AftercallError('CONFIG_INVALID', `Calls of "${name}" are handed in; there is no list of them to read.`, { advice: 'Delete its schedule.', outcome: 'refused' });
  },

  async findGiven(callId) {
    const found = await given.find({ project, callId });
    return found && { hasTranscript: found.transcript !== undefined && found.transcript.by === undefined, hasRecording: found.audio !== undefined || found.recordingUrl !== undefined, ...(found.audio ? { audio: found.audio } : {}) };
  },

  async findRecording(callId) {
    const found = await given.find({ project, callId });
    if (found?.audio) return { recordingId: callId, fileName: `${callId}.${found.audio.format}`, url: `${UPLOADED}${found.audio.key}` };
    if (!found?.recordingUrl) return undefined;
    return { recordingId: callId, fileName: fileNameOf(found.recordingUrl), url: found.recordingUrl };
  },

  async openRecording(link, { offset, signal }): Promise<RecordingStream> {
    if (!link.url.startsWith(UPLOADED)) {
      return openDownload({
        link,
        offset,
        signal,
        guard,
        timeoutMs,
        refused: { why: 'The link that came with the call does not give the recording out, or not any more.', advice: 'Hand the call in again with a fresh link, or upload the recording, then retry.' },
      });
    }
    const key = link.url.slice(UPLOADED.length);
    const found = await objects.open(key, { signal, ...(offset > 0 ? { range: { start: offset } } : {}) });
    if (!found) throw new AftercallError('RECORDING_UNUSABLE', `The uploaded recording ${link.fileName} is not in the object store any more.`, { advice: 'Upload it again, then retry.', outcome: 'refused' });
    return { body: found.body, offset, totalBytes: found.totalBytes };
  },

  /** What was uploaded has been copied to its place; the upload itself is not needed any more. */
  async recordingStored(callId, stored: StoredRecording) {
    const found = await given.find({ project, callId });
    if (!found?.audio || found.audio.key === stored.key) return;
    await given.moved({ project, callId }, { key: stored.key, bytes: stored.bytes, sha256: stored.sha256, format: stored.format as 'wav' | 'mp3' });
    await objects.delete(found.audio.key);
  },
});

const fileNameOf = (url: string): string => (URL.parse(url)?.pathname.split('/').at(-1) || 'recording').slice(0, 200);
