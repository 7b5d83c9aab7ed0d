import { pipeline } from 'node:stream/promises';
import type { Request, Response } from 'express';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { StoredRecording } from '../db/schema.ts';
import { HttpProblem } from './problems.ts';
import { parseRange } from './range.ts';

interface Asked {
  recording: StoredRecording;
  callId: string;
  request: Request;
  response: Response;
}

/** Streams a recording, or the range of it that is asked for. @returns false when its object is gone */
export const sendRecording = async (objects: ObjectStore, { recording, callId, request, response }: Asked): Promise<boolean> => {
  const stored = await objects.head(recording.key);
  if (!stored) return false;
  const etag = `"${recording.sha256}"`;
  // A part goes on with what the player has only if that is of the same file (RFC 9110, 13.1.5).
  const range = [undefined, etag].includes(request.get('if-range')) ? parseRange(request.get('range'), stored.bytes) : undefined;
  if (range === 'unsatisfiable') throw new HttpProblem(416, `The recording has ${stored.bytes} bytes.`, { headers: { 'content-range': `bytes */${stored.bytes}` } });
  response.set({
    'accept-ranges': 'bytes',
    'content-type': recording.format === 'mp3' ? 'audio/mpeg' : 'audio/wav',
    'content-disposition': `inline; filename="${callId}.${recording.format}"`,
    // Its own hash: the same bytes have the same tag wherever they lie.
    etag,
    'cache-control': 'private, max-age=3600',
    'content-length': String(range ? range.end - range.start + 1 : stored.bytes),
    ...(range ? { 'content-range': `bytes ${range.start}-${range.end}/${stored.bytes}` } : {}),
  });
  response.status(range ? 206 : 200);
  if (request.method === 'HEAD') {
    response.end();
    return true;
  }
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const found = await objects.open(recording.key, { signal: gone.signal, ...(range ? { range } : {}) });
  if (!found) return false;
  await pipeline(found.body, response).catch((error: unknown) => {
    // The player has heard enough.
    if (!gone.signal.aborted) throw error;
  });
  return true;
};
