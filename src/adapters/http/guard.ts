import { lookup } from 'node:dns/promises';
import { request as requestHttp, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { type HostList, mayBeNamed, specialKindOf } from './hosts.ts';

/** What `send` asks of whatever carries a request: as much of `fetch` as it uses. */
export type Fetch = (url: URL, init: FetchInit) => Promise<Response>;

export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  /** A `Blob` or a stream is read while it is sent. */
  body?: string | Blob | ReadableStream<Uint8Array> | undefined;
  signal: AbortSignal;
}

export interface Address {
  address: string;
  family: number;
}

/** Reaches addresses that come from outside, and only those that may be reached. */
export interface Guard {
  /** Reads a URL as it came. @throws URL_REFUSED when it is none, or is written to be misread */
  parse(text: string): URL;
  /** Looks up and checks where a URL leads. @throws URL_REFUSED */
  check(url: URL): Promise<Address[]>;
  /**
   * Like `fetch`, but to checked addresses only, and following at most 3 redirects, each checked like the first.
   *
   * Only reading follows redirects: a body goes to the place that was named or nowhere. Sizes, and how long it may
   * all take, are the caller's to limit.
   *
   * @throws URL_REFUSED before anything is sent there
   * @throws NotConnected when nothing was sent because there was no connection
   */
  fetch: Fetch;
}

export interface GuardOptions {
  /** May be reached although they are private, without TLS, or on other ports. */
  allow?: HostList | undefined;
  /** When there is such a list, nothing else may be reached, and no other name is even looked up. */
  only?: HostList | undefined;
  /** All addresses of a name. Default: as the system resolves it. */
  resolve?: (name: string) => Promise<Address[]>;
}

/** There was no connection, so nothing was sent. */
export class NotConnected extends Error {
  override readonly name = 'NotConnected';
}

const MOST_REDIRECTS = 3;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** To another origin go only those headers that say what is wanted; any other may be a key. */
const HARMLESS_HEADERS = new Set(['accept', 'accept-encoding', 'accept-language', 'range', 'if-range', 'user-agent']);
const STANDARD_PORT: Record<string, number> = { 'http:': 80, 'https:': 443 };

export const createGuard = ({ allow, only, resolve = (name) => lookup(name, { all: true, order: 'verbatim' }) }: GuardOptions = {}): Guard => {
  const hasName = (name: string, port: number): boolean => Boolean(allow?.hasName(name, port) || only?.hasName(name, port));
  const hasAddress = (address: string, port: number): boolean => Boolean(allow?.hasAddress(address, port) || only?.hasAddress(address, port));

  const parse = (text: string): URL => {
    // Parsers agree on none of these; nobody who means well writes them.
    if (/[\s\p{C}\\]/u.test(text)) throw refused(undefined, 'it holds blanks, control characters or backslashes');
    if (!URL.canParse(text)) throw refused(undefined, 'it is not a URL');
    return new URL(text);
  };

  const check = async (url: URL): Promise<Address[]> => {
    const { host, name, port } = placeOf(url);
    const family = isIP(host);
    const named = family === 0 && hasName(name, port);
    checkWithin(only, url);
    const addresses = family === 0 ? await addressesOf(url, name) : [{ address: host, family }];

    let listed = true;
    for (const { address } of addresses) {
      if (hasAddress(address, port) || (named && mayBeNamed(address))) continue;
      listed = false;
      const kind = specialKindOf(address);
      // All of them, not the first public one: which is used is for the network to choose.
      if (kind) throw refused(url, `it leads to ${address} (${kind})`);
    }
    if (!listed && url.protocol !== 'https:') throw refused(url, 'it is not https');
    if (!listed && port !== 443) throw refused(url, `port ${port} is not open`);
    return addresses;
  };

  const addressesOf = async (url: URL, name: string): Promise<Address[]> => {
    // Whatever a resolver makes of it.
    if (/(^|\.)localhost$/.test(name) && !hasName(name, portOf(url))) throw refused(url, 'it leads to this machine');
    let addresses: Address[];
    try {
      addresses = await resolve(name);
    } catch (error) {
      throw new NotConnected(`the name ${name} cannot be looked up (${(error as { code?: string }).code ?? 'no reason given'})`, { cause: error });
    }
    if (addresses.length === 0) throw new NotConnected(`the name ${name} has no address`);
    return addresses;
  };

  return {
    parse,
    check,
    async fetch(url, init) {
      let { headers } = init;
      for (let [at, redirects] = [url, 0]; ; redirects += 1) {
        const response = await exchange(at, { ...init, headers }, await abortable(check(at), init.signal));
        const location = response.headers.get('location');
        if (init.method !== 'GET' || !REDIRECTS.has(response.status) || location === null) return response;
        await response.body?.cancel();
        if (redirects === MOST_REDIRECTS) throw refused(at, `it is the end of ${MOST_REDIRECTS} redirects and leads on`);
        const next = parse(absolute(location, at));
        if (next.origin !== at.origin) headers = Object.fromEntries(Object.entries(headers).filter(([name]) => HARMLESS_HEADERS.has(name.toLowerCase())));
        at = next;
      }
    },
  };
};

/** The guard that an installation's settings ask for. */
export const guardOf = (config: Pick<Config, 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY'>): Guard => createGuard({ allow: config.OUTBOUND_ALLOW, only: config.OUTBOUND_ONLY });

/**
 * The platform's `fetch` for systems that the installation's own settings name.
 *
 * They may lie anywhere. Redirects are not followed: none of the APIs uses them, and a token must not travel to
 * another host. With `OUTBOUND_ONLY`, an address that such a system gave us has to be on the list, too.
 */
export const fetchWithin =
  (only: HostList | undefined): typeof fetch =>
  async (input, init) => {
    checkWithin(only, new URL(input instanceof Request ? input.url : input.toString()));
    return fetch(input, { ...init, redirect: 'manual' });
  };

/** No answer of an API is as long. The libraries that read it know no limit, and the process serves other projects too. */
const MAX_API_ANSWER_BYTES = 32 * 1024 * 1024;

/** An answer that breaks off when it gets too long. */
const limited = (response: Response, maxBytes: number): Response => {
  if (!response.body) return response;
  let bytes = 0;
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (bytes <= maxBytes) controller.enqueue(chunk);
        else controller.error(new AftercallError('UPSTREAM_NONSENSE', `The answer is longer than ${Math.round(maxBytes / 1024 / 1024)} MB.`, { advice: 'Check that the address leads to the API that it should.' }));
      },
    }),
  );
  return new Response(counted, { status: response.status, statusText: response.statusText, headers: response.headers });
};

/** The same for an address that a project's administrator has set: checked and looked up by the guard at every request. */
export const fetchThrough =
  (guard: Guard, maxBytes = MAX_API_ANSWER_BYTES): typeof fetch =>
  async (input, init) => {
    if (input instanceof Request) throw new TypeError('Give the address and what to send apart.');
    // A form becomes what it is sent as, with its boundary.
    const { headers, body } = init?.body instanceof FormData ? await formOf(init) : { headers: new Headers(init?.headers), body: init?.body };
    if (body !== undefined && body !== null && typeof body !== 'string' && !(body instanceof Blob) && !isStream(body)) throw new TypeError('Only text, files, forms and streams can be sent through the guard.');
    const response = await guard.fetch(guard.parse(input.toString()), { method: init?.method ?? 'GET', headers: Object.fromEntries(headers), body: body ?? undefined, signal: init?.signal ?? new AbortController().signal });
    return limited(response, maxBytes);
  };

/** Of what is streamed, nobody knows it beforehand: it goes in chunks. */
const lengthOf = (body: FetchInit['body']): { 'content-length'?: number } => (body === undefined || isStream(body) ? {} : { 'content-length': typeof body === 'string' ? Buffer.byteLength(body) : body.size });

const isStream = (body: unknown): body is ReadableStream<Uint8Array> => typeof body === 'object' && body !== null && 'getReader' in body;

const formOf = async ({ headers: given, body: form }: RequestInit): Promise<{ headers: Headers; body: Blob }> => {
  const sent = new Response(form);
  const headers = new Headers(given);
  headers.set('content-type', sent.headers.get('content-type')!);
  return { headers, body: await sent.blob() };
};

/** Whether a URL leads to one of the only hosts that may be reached, if there are such. @throws URL_REFUSED when it leads nowhere */
export const isWithin = (only: HostList | undefined, url: URL): boolean => {
  if (!only) return true;
  const { host, name, port } = placeOf(url);
  return isIP(host) === 0 ? only.hasName(name, port) : only.hasAddress(host, port);
};

/** Names are taken as they stand, before anybody is asked about them: a question to DNS leaves the house, too. */
const checkWithin = (only: HostList | undefined, url: URL): void => {
  if (!isWithin(only, url)) throw refused(url, 'it is not among the hosts of OUTBOUND_ONLY');
};

/** Scheme, credentials and host of a URL, by what can be said without asking anybody. */
const placeOf = (url: URL): { host: string; name: string; port: number } => {
  if (!(url.protocol in STANDARD_PORT)) throw refused(url, `${url.protocol.slice(0, -1)} is not https`);
  if (url.username || url.password) throw refused(url, 'it holds a user name or password');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const name = host.replace(/\.$/, '');
  if (name === '' || name.endsWith('.')) throw refused(url, 'it names no host');
  return { host, name, port: portOf(url) };
};

const portOf = (url: URL): number => (url.port ? Number(url.port) : STANDARD_PORT[url.protocol]!);

const absolute = (location: string, base: URL): string => {
  if (/[\s\p{C}\\]/u.test(location)) throw refused(undefined, 'a redirect holds blanks, control characters or backslashes');
  if (!URL.canParse(location, base.href)) throw refused(undefined, 'a redirect leads to something that is not a URL');
  return new URL(location, base).href;
};

/** Of the URL only scheme, host and port are shown: all else may be a key. */
const refused = (url: URL | undefined, why: string): AftercallError => {
  const shown = url === undefined ? 'the address' : url.host ? `${url.protocol}//${url.host}` : `the ${url.protocol} address`;
  return new AftercallError('URL_REFUSED', `${shown} is refused: ${why}.`, {
    advice: 'If it is right, name its host in OUTBOUND_ALLOW (with OUTBOUND_ONLY set: there) and restart.',
    outcome: 'refused',
  });
};

/**
 * One request to one of the checked addresses. There is no second look-up that could answer otherwise.
 *
 * A connection of its own for each: one that is reused may be dead without anybody knowing whether what was sent on
 * it arrived. And no proxy, whatever the environment says: it would look the name up again.
 */
const exchange = (url: URL, { method, headers, body, signal }: FetchInit, addresses: Address[]): Promise<Response> =>
  new Promise((resolve, reject) => {
    const options: RequestOptions = {
      method,
      // A compressed body could not be continued from an offset, nor its size be known.
      headers: { 'accept-encoding': 'identity', 'user-agent': 'aftercall', ...headers, ...lengthOf(body) },
      agent: false,
      signal,
      lookup: (_name, { all }, callback) => {
        const [first] = addresses;
        if (all) callback(null, addresses);
        else callback(null, first!.address, first!.family);
      },
    };
    const request = url.protocol === 'https:' ? requestHttps(url, options) : requestHttp(url, options);
    let connected = false;
    request.once('socket', (socket) => socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => (connected = true)));
    request.on('error', (error) => reject(connected ? error : new NotConnected(messageFrom(error), { cause: error })));
    request.once('response', (incoming) => {
      try {
        resolve(toResponse(incoming));
      } catch (error) {
        incoming.destroy();
        reject(error);
      }
    });
    const stream = body instanceof Blob ? body.stream() : isStream(body) ? body : undefined;
    if (stream) pipeline(Readable.from(stream as AsyncIterable<Uint8Array>), request).catch((error: unknown) => request.destroy(error instanceof Error ? error : undefined));
    else request.end(body as string | undefined);
  });

/** A look-up cannot be cancelled, but nobody has to wait for it. */
const abortable = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(new NotConnected('the name was not looked up in time', { cause: signal.reason }));
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
};

/** Trying several addresses gives an error without a message of its own. */
const messageFrom = (error: Error & { code?: string }): string => error.message || error.code || 'no connection';

const BODILESS = new Set([204, 205, 304]);

const toResponse = (incoming: IncomingMessage): Response => {
  const status = incoming.statusCode!;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headersDistinct)) for (const each of value ?? []) headers.append(name, each);
  if (BODILESS.has(status)) {
    incoming.resume();
    return new Response(null, { status, headers });
  }
  return new Response(bodyOf(incoming), { status, headers });
};

/** A body that is read as it is asked for. Node's own conversion copies every chunk, which a large body has to pay for. */
const bodyOf = (incoming: IncomingMessage): ReadableStream<Uint8Array> => {
  // Until somebody reads, an end that comes too early has no other listener.
  incoming.on('error', () => {});
  const chunks = (incoming as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const read = await chunks.next();
        if (read.done) controller.close();
        else controller.enqueue(read.value);
      },
      cancel: () => void incoming.destroy(),
    },
    { highWaterMark: 0 },
  );
};
