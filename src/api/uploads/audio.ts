import { createHash, randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Busboy, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy';
import type { Request } from 'express';
import type { ObjectStore, Upload } from '../../adapters/objects/object-store.ts';
import type { GivenAudio } from '../../domain/given.ts';
import { uploadPrefix } from '../../domain/ids.ts';
import { sniff, SNIFF_BYTES, wavEnd } from '../../domain/recording.ts';
import { HttpProblem } from '../problems.ts';
import { checkBody, endWhenIdle, tooLarge } from './bodies.ts';

/** The call beside its recording: a transcript is the longest part of it. */
export const MOST_FIELD_BYTES = 2 * 1024 * 1024;
const CONTENT_TYPE = { wav: 'audio/wav', mp3: 'audio/mpeg' } as const;

export interface ReadForm {
  /** The field `call`. */
  call: string;
  audio: GivenAudio;
}

/**
 * Reads a form of a call and its recording. The recording goes to the object store as it comes.
 *
 * @param checkCall called before the recording is read, with the field `call`: throws when it is not worth reading
 * @param begun told where the recording will lie, before its first byte is stored
 * @throws HttpProblem; then nothing is left in the object store
 */
export const readAudioForm = async (request: Request, { project, objects, mostBytes, checkCall, begun }: { project: string; objects: ObjectStore; mostBytes: number; checkCall: (call: string) => void; begun: (key: string) => Promise<void> }): Promise<ReadForm> => {
  checkBody(request, mostBytes + MOST_FIELD_BYTES + 64 * 1024);
  endWhenIdle(request);
  if (!/^multipart\/form-data\s*;/i.test(request.get('content-type') ?? '')) throw new HttpProblem(415, 'The body has to be a form: multipart/form-data.', { headers: { connection: 'close' } });
  let form: BusboyInstance;
  try {
    form = new Busboy({ headers: request.headers as BusboyHeaders, limits: { fields: 1, files: 1, parts: 2, fieldSize: MOST_FIELD_BYTES, fieldNameSize: 100, headerPairs: 20, fileSize: mostBytes + 1 } });
  } catch (error) {
    throw new HttpProblem(400, `The form cannot be read: ${(error as Error).message.slice(0, 200)}.`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<ReadForm>();
  const gone = new AbortController();
  let call: string | undefined;
  let storing: Promise<GivenAudio> | undefined;
  const fail = (error: unknown): void => {
    gone.abort();
    reject(error);
  };
  form.on('field', (name, value, nameTruncated, valueTruncated) => {
    if (name !== 'call' || nameTruncated) return fail(new HttpProblem(400, `The form has a field ${JSON.stringify(name.slice(0, 40))}; there are only "call" and "audio".`));
    if (valueTruncated) return fail(new HttpProblem(413, `The field "call" is larger than ${MOST_FIELD_BYTES / 1024 / 1024} MB.`));
    call = value;
  });
  form.on('file', (name, file) => {
    file.on('error', fail);
    try {
      if (name !== 'audio') throw new HttpProblem(400, `The form has a file ${JSON.stringify(name.slice(0, 40))}; the recording has to be in "audio".`);
      if (call === undefined) throw new HttpProblem(400, 'The field "call" has to come before the file "audio".');
      checkCall(call);
    } catch (error) {
      file.resume();
      return fail(error);
    }
    storing = store(file, { project, objects, mostBytes, begun, signal: gone.signal });
    storing.catch(fail);
  });
  for (const limit of ['fieldsLimit', 'filesLimit', 'partsLimit'] as const) form.on(limit, () => fail(new HttpProblem(400, 'The form has more parts than one field "call" and one file "audio".')));
  form.on('error', (error: unknown) => fail(new HttpProblem(400, `The form cannot be read: ${(error as Error).message.slice(0, 200)}.`)));
  form.on('finish', () => {
    if (!storing) return fail(new HttpProblem(400, 'The form has to have a field "call" and, behind it, a file "audio".'));
    storing.then((audio) => resolve({ call: call!, audio }), fail);
  });
  request.once('aborted', () => fail(new HttpProblem(400, 'The upload broke off.')));
  request.once('error', fail);
  request.pipe(form);
  try {
    return await promise;
  } catch (error) {
    request.unpipe(form);
    // What was stored before something else went wrong is of no use.
    await storing?.then(({ key }) => objects.delete(key), () => {});
    throw error;
  }
};

/** Streams a recording to the object store, and hashes it on the way. */
const store = async (file: Readable, { project, objects, mostBytes, begun, signal }: { project: string; objects: ObjectStore; mostBytes: number; begun: (key: string) => Promise<void>; signal: AbortSignal }): Promise<GivenAudio> => {
  const hash = createHash('sha256');
  let head: Uint8Array = new Uint8Array(0);
  let bytes = 0;
  let target: { key: string; format: 'wav' | 'mp3'; upload: Upload } | undefined;
  const begin = async (): Promise<NonNullable<typeof target>> => {
    const sniffed = sniff(head);
    if (sniffed.format === undefined) throw new HttpProblem(422, `The file is no recording: it seems to be ${sniffed.seemsToBe}. Upload WAV or MP3.`);
    const key = `${uploadPrefix(project)}${randomUUID()}.${sniffed.format}`;
    await begun(key);
    return { key, format: sniffed.format, upload: await objects.openUpload(key, { contentType: CONTENT_TYPE[sniffed.format], signal }) };
  };
  try {
    // Left early, the iteration must not break the form: the rest of it is read past.
    for await (const chunk of file.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      bytes += chunk.byteLength;
      if (bytes > mostBytes) throw tooLarge(mostBytes);
      hash.update(chunk);
      if (target) {
        await target.upload.write(chunk);
        continue;
      }
      head = Buffer.concat([head, chunk]);
      if (head.byteLength >= SNIFF_BYTES) {
        target = await begin();
        await target.upload.write(head);
      }
    }
    signal.throwIfAborted();
    if (!target) {
      target = await begin();
      await target.upload.write(head);
    }
    if (target.format === 'wav' && (wavEnd(head) ?? 0) > bytes) throw new HttpProblem(422, `The recording is cut off: it has ${bytes} bytes, fewer than its own header says. Upload it again.`);
    await target.upload.complete();
    return { key: target.key, format: target.format, bytes, sha256: hash.digest('hex') };
  } catch (error) {
    file.resume();
    await target?.upload.abort().catch(() => {});
    throw error;
  }
};
