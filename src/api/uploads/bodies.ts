import type { Request } from 'express';
import { HttpProblem } from '../problems.ts';

/** A body that brings nothing for this long is not waited for. */
const IDLE_MS = 60_000;

/** The connection is of no more use: what is left of the body would have to be read first. */
const CLOSE = { connection: 'close' };
export const tooLarge = (mostBytes: number): HttpProblem => new HttpProblem(413, `The body is larger than ${Math.floor(mostBytes / 1024 / 1024)} MB. Nothing was taken in.`, { headers: CLOSE });

/** Refuses what need not be looked at, before a byte of it is read. */
export const checkBody = (request: Request, mostBytes: number): void => {
  const encoding = request.get('content-encoding');
  // A few bytes of these may be as many as they like once they are unpacked.
  if (encoding !== undefined && encoding !== 'identity') throw new HttpProblem(415, `A body with Content-Encoding ${JSON.stringify(encoding.slice(0, 40))} is not taken. Send it unpacked.`, { headers: CLOSE });
  if (Number(request.get('content-length') ?? 0) > mostBytes) throw tooLarge(mostBytes);
};

const underWay = new WeakSet<Request>();
/** Whether a body is one that may take its time. */
export const isUnderWay = (request: Request): boolean => underWay.has(request);

/** Ends a connection that falls silent. To be called when an upload is read, which may last as long as it goes on. */
export const endWhenIdle = (request: Request): void => {
  underWay.add(request);
  request.socket.setTimeout(IDLE_MS, () => request.destroy(new Error('The upload fell silent.')));
  request.once('close', () => request.socket.setTimeout(0));
};

/** A body as it comes. @throws 413 as soon as there is more of it than may be */
export async function* bodyChunks(request: Request, mostBytes: number): AsyncGenerator<Buffer> {
  checkBody(request, mostBytes);
  endWhenIdle(request);
  let bytes = 0;
  // Left early, the iteration must not end the connection: the answer goes over it.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > mostBytes) throw tooLarge(mostBytes);
    yield chunk;
  }
}

/** A body in memory. @throws 413 as soon as there is more of it than may be */
export const readBody = async (request: Request, mostBytes: number): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of bodyChunks(request, mostBytes)) chunks.push(chunk);
  return Buffer.concat(chunks);
};

/** So much of a refused body is read to its end, for so long. */
const MOST_LEFT_BYTES = 64 * 1024 * 1024;
const MOST_LEFT_MS = 15_000;

/**
 * Reads what is left of a body that is refused, unless that is a lot: most clients look at no answer before they
 * have sent everything, and see but a broken connection.
 */
const letFinish = async (request: Request): Promise<void> => {
  if (request.complete || request.destroyed || Number(request.get('content-length') ?? 0) > MOST_LEFT_BYTES) return;
  const { promise: enough, resolve } = Promise.withResolvers<void>();
  let bytes = 0;
  const timer = setTimeout(resolve, MOST_LEFT_MS);
  const count = (chunk: Buffer): void => {
    bytes += chunk.byteLength;
    if (bytes > MOST_LEFT_BYTES) resolve();
  };
  request.on('data', count);
  for (const end of ['end', 'close', 'error']) request.once(end, () => resolve());
  request.resume();
  await enough;
  clearTimeout(timer);
  request.off('data', count);
};

/** Reads a body by a piece of work that may refuse it. */
export const reading = async <T>(request: Request, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    await letFinish(request);
    throw error;
  }
};
