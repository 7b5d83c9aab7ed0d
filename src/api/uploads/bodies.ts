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

/** A body in memory. @throws 413 as soon as there is more of it than may be */
export const readBody = async (request: Request, mostBytes: number): Promise<Buffer> => {
  checkBody(request, mostBytes);
  endWhenIdle(request);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > mostBytes) throw tooLarge(mostBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};
