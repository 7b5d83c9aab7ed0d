import { createServer, request as forward } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What goes wrong with the next request whose method and path match. Each is used up once. */
export interface ProxyFault {
  match: RegExp;
  /** Answers this instead of asking; or asks, then drops the answer. */
  effect: { status: number; body: string } | 'lose_answer';
}

/** An HTTP proxy in front of one server, with faults. */
export const startFaultyProxy = async (target: string) => {
  const faults: ProxyFault[] = [];
  const { hostname, port } = new URL(target);
  const server = createServer((incoming, outgoing) => {
    const line = `${incoming.method} ${incoming.url}`;
    const at = faults.findIndex(({ match }) => match.test(line));
    const [fault] = at < 0 ? [] : faults.splice(at, 1);
    if (fault && fault.effect !== 'lose_answer') {
      incoming.resume();
      const { status, body } = fault.effect;
      incoming.once('end', () => outgoing.writeHead(status, { 'content-type': 'application/xml' }).end(body));
      return;
    }
    const upstream = forward({ hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      if (fault) {
        answer.resume();
        answer.once('end', () => incoming.socket.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    upstream.once('error', () => incoming.socket.destroy());
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    faults,
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
