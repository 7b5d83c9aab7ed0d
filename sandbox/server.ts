import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { type LedgerEntry, openLedger } from './ledger.ts';

/**
 * What every stand-in shares: a real HTTP server, faults that can be switched on, and a ledger.
 *
 * Control routes, on each server's own address:
 * - `POST /_sandbox/faults` adds a `Fault` (or an array of them); `DELETE` clears all, `GET` lists them
 * - `GET /_sandbox/ledger` what was done and billed here, written by the server itself and by nobody else
 * - `GET /_sandbox/requests` every request in order, with the fault it met if any
 */
export interface SandboxServer {
  readonly name: string;
  readonly url: string;
  close(): Promise<void>;
}

/** Something that goes wrong. `times` requests meet it after `skip` requests were let through. */
export interface Fault {
  /** Method and path, `*` standing for any run of characters: `GET /v1/tasks`, `POST /v1/audio/*`. */
  route: string;
  /** Default 1. */
  times?: number;
  /** Default 0. */
  skip?: number;
  /** Waits first, whatever comes then. */
  delayMs?: number;
  effect:
    /** Nothing but the delay. */
    | { kind: 'delay' }
    | { kind: 'respond'; status: number; headers?: Record<string, string>; body?: unknown }
    /** Closes the connection without doing anything. */
    | { kind: 'drop_before' }
    /** Does everything, then closes the connection instead of answering. */
    | { kind: 'drop_after' }
    /** Does everything, and answers so much later. */
    | { kind: 'late'; byMs: number }
    /** Does everything, promises the whole answer, sends half of it and closes the connection; `half` leaves it open. */
    | { kind: 'cut' }
    | { kind: 'half' }
    /** Never answers. */
    | { kind: 'hang' }
    /** Left to the server: it reads `faultOf(response)`. */
    | { kind: string; [detail: string]: unknown };
}

interface SeenRequest {
  method: string;
  path: string;
  query: Record<string, unknown>;
  status?: number;
  fault?: string;
  atMs: number;
}

export interface Sandbox {
  app: Express;
  /** Adds an entry to the ledger. */
  record(kind: string, entry: Record<string, unknown>): void;
  ledger(): LedgerEntry[];
}

export type { LedgerEntry };

/** The fault that this request met and that the server has to act out itself. */
export const faultOf = (response: Response): Fault['effect'] | undefined => (response.locals as { fault?: Fault['effect'] }).fault;

/**
 * Starts a stand-in.
 *
 * @param build adds the routes
 * @param options.port 0 takes a free one
 * @param options.dataFolder keeps the ledger, for the next start to go on with. Default: in memory
 */
export const startSandboxServer = async (
  name: string,
  build: (sandbox: Sandbox) => void | Promise<void>,
  { port = 0, host = '127.0.0.1', dataFolder }: { port?: number; host?: string; dataFolder?: string | undefined } = {},
): Promise<SandboxServer> => {
  const app = express();
  app.disable('x-powered-by');
  app.set('query parser', 'extended');
  const ledger = openLedger(dataFolder && join(dataFolder, `${name}-ledger.jsonl`));
  const faults: (Required<Pick<Fault, 'times' | 'skip'>> & Fault)[] = [];
  const requests: SeenRequest[] = [];

  const control = express.Router();
  control.use(express.json({ limit: '10mb' }));
  control.post('/faults', (request, response) => {
    for (const fault of [request.body].flat() as Fault[]) faults.push({ times: 1, skip: 0, ...fault });
    response.status(204).end();
  });
  control.delete('/faults', (_request, response) => {
    faults.length = 0;
    response.status(204).end();
  });
  control.get('/faults', (_request, response) => void response.json(faults));
  control.get('/ledger', (_request, response) => void response.json(ledger.entries));
  control.get('/requests', (_request, response) => void response.json(requests));
  app.use('/_sandbox', control);

  app.use(async (request: Request, response: Response, next: NextFunction) => {
    const seen: SeenRequest = { method: request.method, path: request.path, query: request.query, atMs: Date.now() };
    requests.push(seen);
    response.on('finish', () => (seen.status = response.statusCode));
    const fault = takeFault(faults, request);
    if (!fault) return next();
    seen.fault = fault.effect.kind;
    if (fault.delayMs) await sleep(fault.delayMs);
    switch (fault.effect.kind) {
      case 'delay':
        return next();
      case 'respond': {
        const { status, headers = {}, body } = fault.effect as Extract<Fault['effect'], { kind: 'respond' }>;
        response.status(status).set(headers);
        return void (typeof body === 'string' ? response.send(body) : response.json(body ?? {}));
      }
      case 'drop_before':
        return void request.socket.destroy();
      case 'drop_after':
        response.end = () => {
          request.socket.destroy();
          return response;
        };
        response.write = () => true;
        return next();
      case 'late': {
        const { byMs } = fault.effect as Extract<Fault['effect'], { kind: 'late' }>;
        const end = response.end.bind(response) as (...body: unknown[]) => Response;
        response.end = ((...body: unknown[]) => {
          setTimeout(() => end(...body), byMs);
          return response;
        }) as Response['end'];
        return next();
      }
      case 'cut':
      case 'half': {
        const { kind } = fault.effect;
        response.end = ((chunk: string | Buffer) => {
          response.write(Buffer.from(chunk).subarray(0, Buffer.byteLength(chunk) / 2), () => {
            if (kind === 'cut') request.socket.destroy();
          });
          return response;
        }) as Response['end'];
        return next();
      }
      case 'hang':
        return;
      default:
        (response.locals as { fault?: Fault['effect'] }).fault = fault.effect;
        return next();
    }
  });

  await build({
    app,
    record: (kind, entry) => ledger.add({ kind, atMs: Date.now(), ...entry }),
    ledger: () => ledger.entries,
  });

  // Longer than a busy test process may be away from its event loop: a client would write into a connection that is closing.
  const server = createServer({ keepAliveTimeout: 60_000 }, app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const { port: boundPort } = server.address() as AddressInfo;
  return { name, url: `http://${host}:${boundPort}`, close: () => close(server) };
};

const takeFault = (faults: (Required<Pick<Fault, 'times' | 'skip'>> & Fault)[], request: Request): Fault | undefined => {
  const line = `${request.method} ${request.path}`;
  const fault = faults.find((candidate) => candidate.times > 0 && matches(candidate.route, line));
  if (!fault) return undefined;
  if (fault.skip > 0) {
    fault.skip -= 1;
    return undefined;
  }
  fault.times -= 1;
  return fault;
};

const matches = (route: string, line: string): boolean =>
  new RegExp(`^${route.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`).test(line);

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
