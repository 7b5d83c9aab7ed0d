import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ServedFile } from '../../sandbox/webex/recordings.ts';

/** How a recording store behaves; changed between requests. */
export interface Serving {
  file: Pick<ServedFile, 'bytes' | 'read' | 'contentType'>;
  /** Default true. */
  ranges?: boolean;
  /** Default true: says how long the body is. */
  length?: boolean;
  /** Sends so many bytes, then nothing more, the connection open. */
  stallAfter?: number;
  /** Sends so many bytes, then drops the connection. */
  dropAfter?: number;
}

/** A store that serves one recording over HTTP, with ranges, and counts what it sent. */
export const startRecordingServer = async (serving: Serving) => {
  const stalled = Promise.withResolvers<void>();
  const seen = { serving, requests: [] as { start: number; sent: number }[] };
  const server = createServer((request, response) => {
    const { file, ranges = true, length = true, stallAfter = Infinity, dropAfter = Infinity } = seen.serving;
    const asked = ranges ? /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] : undefined;
    const start = Number(asked ?? 0);
    const entry = { start, sent: 0 };
    seen.requests.push(entry);
    if (asked && start >= file.bytes) return void response.writeHead(416, { 'content-range': `bytes */${file.bytes}` }).end();
    response.writeHead(asked ? 206 : 200, {
      'content-type': file.contentType,
      ...(length ? { 'content-length': file.bytes - start } : {}),
      ...(asked ? { 'content-range': `bytes ${start}-${file.bytes - 1}/${file.bytes}` } : {}),
    });
    const closed = once(response, 'close');
    const send = async (): Promise<void> => {
      for await (const chunk of file.read(start, file.bytes - 1)) {
        if (response.destroyed) return;
        if (entry.sent + chunk.byteLength > dropAfter) return void response.destroy();
        if (entry.sent + chunk.byteLength > stallAfter) return stalled.resolve();
        entry.sent += chunk.byteLength;
        if (!response.write(chunk)) await Promise.race([once(response, 'drain'), closed]);
      }
      response.end();
    };
    void send();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/recording`,
    /** Settles when a body has stalled. */
    stalled: stalled.promise,
    requests: seen.requests,
    serve: (next: Serving): void => {
      seen.serving = next;
    },
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
