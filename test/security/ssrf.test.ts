import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { planLaunch, standInSettings } from '../../scripts/launch-plan.ts';
import { createGuard, fetchThrough, type Guard } from '../../src/adapters/http/guard.ts';
import { send } from '../../src/adapters/http/http.ts';
import { parseHostList, specialKindOf } from '../../src/adapters/http/hosts.ts';
import { toProblem } from '../../src/api/problems.ts';
import { ConfigError, loadConfig } from '../../src/config.ts';
import { isAftercallError } from '../../src/domain/errors.ts';
import { complete } from '../support/config.ts';
import { startDnsServer } from '../support/dns-server.ts';
import { failureOf } from '../support/salesforce.ts';

const PUBLIC = '93.184.216.34';
const PUBLIC_6 = '2606:2800:220:1::1946';
/** Nobody is there; on the allow-list it stands for an address that may be reached. */
const NOBODY = '192.0.2.77';
const never = new AbortController().signal;

let dns: Awaited<ReturnType<typeof startDnsServer>>;
let canary: Server;
let port: number;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let seen: IncomingMessage[];
let attempts: string[];

/** Everything that any socket of this process tries to reach. */
const watch = (message: unknown): void => void (message as { socket: Socket }).socket.on('connectionAttempt', (ip, to) => attempts.push(`${ip}:${to}`));

beforeAll(async () => {
  dns = await startDnsServer({
    'public.example': [[PUBLIC, PUBLIC_6]],
    'loopback.example': [['127.0.0.1']],
    'loopback6.example': [['::1']],
    'mapped.example': [['::ffff:7f00:1']],
    'private.example': [['10.20.30.40']],
    'metadata.example': [['169.254.169.254']],
    'metadata6.example': [['fd00:ec2::254']],
    'half.example': [[PUBLIC, '10.0.0.1']],
    'half6.example': [[PUBLIC, 'fe80::1']],
    'nat64.example': [['64:ff9b::7f00:1']],
    'rebinding.example': [[PUBLIC], ['127.0.0.1']],
    'rebinding-listed.example': [[NOBODY], ['127.0.0.1']],
    'listed.example': [['127.0.0.1']],
    'deep.listed.example': [['127.0.0.1']],
    'xn--bcher-kva.example': [['127.0.0.1']],
    'links.example': [['169.254.169.254']],
  });
  canary = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => canary.listen(0, '127.0.0.1', resolve));
  ({ port } = canary.address() as AddressInfo);
});
beforeEach(() => {
  seen = [];
  attempts = [];
  dns.asked.length = 0;
  answer = (_request, response) => void response.end('here');
  subscribe('net.client.socket', watch);
});
afterEach(() => {
  unsubscribe('net.client.socket', watch);
});
afterAll(async () => {
  await dns?.stop();
  canary?.closeAllConnections();
  await new Promise((resolve) => canary?.close(resolve));
});

const guardFor = ({ allow, only }: { allow?: string; only?: string } = {}): Guard =>
  createGuard({ resolve: dns.resolve, ...(allow ? { allow: parseHostList(allow) } : {}), ...(only ? { only: parseHostList(only) } : {}) });
const get = (url: string, guard: Guard, headers: Record<string, string> = {}) => send({ system: 'the store', doing: 'Downloading', url, guard, headers, signal: never, timeoutMs: 5_000 });
const textFrom = async (url: string, guard: Guard): Promise<string> => (await get(url, guard)).text();

describe('a URL that comes from outside', () => {
  // [what it tries, the URL, why it is refused]. PORT stands for a server that really listens on this machine.
  const hostile: [string, string, RegExp][] = [
    ['loopback', 'https://127.0.0.1/', /127\.0\.0\.1 \(loopback\)/],
    ['loopback without TLS', 'http://127.0.0.1/', /loopback/],
    ['a port of this machine', 'http://127.0.0.1:PORT/', /loopback/],
    ['another loopback address', 'https://127.255.255.254/', /loopback/],
    ['a decimal address', 'http://2130706433:PORT/', /loopback/],
    ['an octal address', 'http://0177.0.0.1:PORT/', /loopback/],
    ['a long octal address', 'http://017700000001:PORT/', /loopback/],
    ['a padded octal address', 'http://00000177.0.0.1:PORT/', /loopback/],
    ['a hexadecimal address', 'http://0x7f000001:PORT/', /loopback/],
    ['hexadecimal parts', 'http://0x7f.0x0.0x0.0x1:PORT/', /loopback/],
    ['parts in mixed bases', 'http://0x7f.0.01:PORT/', /loopback/],
    ['a short address', 'http://127.1:PORT/', /loopback/],
    ['a shorter one', 'http://127.0.1:PORT/', /loopback/],
    ['an address with a trailing dot', 'http://127.0.0.1.:PORT/', /loopback/],
    ['an escaped address', 'http://%31%32%37.0.0.1:PORT/', /loopback/],
    ['full-width digits', 'http://１２７.０.０.１:PORT/', /loopback/],
    ['circled digits', 'http://①②⑦.⓪.⓪.①:PORT/', /loopback/],
    ['ideographic full stops', 'http://127。0。0。1:PORT/', /loopback/],
    ['half-width full stops', 'http://127｡0｡0｡1:PORT/', /loopback/],
    ['the unspecified address', 'http://0.0.0.0:PORT/', /unspecified/],
    ['a bare zero', 'http://0:PORT/', /unspecified/],
    ['"this network"', 'https://0.1.2.3/', /unspecified/],
    ['IPv6 loopback', 'http://[::1]:PORT/', /loopback/],
    ['IPv6 loopback in full', 'http://[0:0:0:0:0:0:0:1]:PORT/', /loopback/],
    ['IPv6 unspecified', 'http://[::]:PORT/', /unspecified/],
    ['IPv4-mapped loopback', 'http://[::ffff:127.0.0.1]:PORT/', /IPv4-mapped/],
    ['the same in hexadecimal', 'http://[::ffff:7f00:1]:PORT/', /IPv4-mapped/],
    ['the same in full', 'http://[0000:0000:0000:0000:0000:FFFF:7F00:0001]:PORT/', /IPv4-mapped/],
    ['IPv4-compatible loopback', 'http://[::127.0.0.1]:PORT/', /IPv4-compatible/],
    ['IPv4-translated loopback', 'http://[::ffff:0:7f00:1]:PORT/', /IPv4-translated/],
    ['NAT64 to loopback', 'https://[64:ff9b::7f00:1]/', /NAT64/],
    ['local NAT64', 'https://[64:ff9b:1::a00:1]/', /NAT64/],
    ['6to4 to a private network', 'https://[2002:a00:1::1]/', /6to4/],
    ['Teredo', 'https://[2001:0:53aa:64c::1]/', /Teredo/],
    ['a private network of class A', 'https://10.0.0.1/', /private/],
    ['of class B', 'https://172.31.255.255/', /private/],
    ['of class C', 'https://192.168.0.1/', /private/],
    ['carrier-grade NAT', 'https://100.64.0.1/', /carrier-grade NAT/],
    ['unique local IPv6', 'https://[fd12:3456::1]/', /unique local/],
    ['link-local', 'https://169.254.1.1/', /link-local/],
    ['link-local IPv6', 'https://[fe80::1]/', /link-local/],
    ['a link of this machine', 'https://[fe80::1%25eth0]/', /not a URL/],
    ['site-local IPv6', 'https://[fec0::1]/', /site-local/],
    ['cloud metadata', 'http://169.254.169.254/latest/meta-data/', /cloud metadata/],
    ['cloud metadata, decimal', 'http://2852039166/latest/meta-data/', /cloud metadata/],
    ['cloud metadata, hexadecimal', 'http://0xa9fea9fe/', /cloud metadata/],
    ['cloud metadata, octal', 'http://0251.0376.0251.0376/', /cloud metadata/],
    ['cloud metadata, short', 'http://169.254.43518/', /cloud metadata/],
    ['cloud metadata, mapped', 'http://[::ffff:a9fe:a9fe]/', /IPv4-mapped/],
    ['cloud metadata, full-width', 'http://１６９.２５４.１６９.２５４/', /cloud metadata/],
    ["AWS's IPv6 metadata", 'http://[fd00:ec2::254]/', /cloud metadata/],
    ["a container's credentials", 'http://169.254.170.2/v2/credentials', /cloud metadata/],
    ["Azure's wire server", 'https://168.63.129.16/', /cloud metadata/],
    ["Alibaba's metadata", 'https://100.100.100.200/', /cloud metadata/],
    ["Oracle's metadata", 'https://192.0.0.192/', /cloud metadata/],
    ['multicast', 'https://224.0.0.1/', /multicast/],
    ['multicast IPv6', 'https://[ff02::1]/', /multicast/],
    ['broadcast', 'https://255.255.255.255/', /reserved/],
    ['reserved', 'https://240.0.0.1/', /reserved/],
    ['documentation', 'https://203.0.113.7/', /documentation/],
    ['documentation IPv6', 'https://[2001:db8::1]/', /documentation/],
    ['newer documentation IPv6', 'https://[3fff::1]/', /documentation/],
    ['benchmarking', 'https://198.18.0.1/', /benchmarking/],
    ['IPv6 that nobody has', 'https://[4000::1]/', /unassigned/],
    ['localhost', 'http://localhost:PORT/', /this machine/],
    ['localhost with a trailing dot', 'http://localhost.:PORT/', /this machine/],
    ['a name below localhost', 'https://any.localhost/', /this machine/],
    ['full-width localhost', 'http://ｌｏｃａｌｈｏｓｔ:PORT/', /this machine/],
    ['circled localhost', 'http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/', /this machine/],
    ['a name that leads here', 'https://loopback.example/', /127\.0\.0\.1 \(loopback\)/],
    ['the same with a trailing dot', 'https://loopback.example./', /loopback/],
    ['the same in capitals', 'https://LoopBack.EXAMPLE/', /loopback/],
    ['a name that leads here by IPv6', 'https://loopback6.example/', /loopback/],
    ['a name with a mapped address', 'https://mapped.example/', /IPv4-mapped/],
    ['a name with a NAT64 address', 'https://nat64.example/', /NAT64/],
    ['a name in the private network', 'https://private.example/', /10\.20\.30\.40 \(private\)/],
    ['a name for the metadata', 'https://metadata.example/', /cloud metadata/],
    ['a name for the IPv6 metadata', 'https://metadata6.example/', /cloud metadata/],
    ['a public and a private address', 'https://half.example/', /10\.0\.0\.1 \(private\)/],
    ['a public and a link-local address', 'https://half6.example/', /link-local/],
    ['a name in other letters', 'https://bücher.example/', /loopback/],
    ['the same in punycode', 'https://xn--bcher-kva.example/', /loopback/],
    ['a public host without TLS', 'http://public.example/', /not https/],
    ['a public host on another port', 'https://public.example:8443/', /port 8443/],
    ['a public host on the port of SSH', 'https://public.example:22/', /port 22/],
    ['a public address without TLS', `http://${PUBLIC}/`, /not https/],
    ['a user name before the host', 'https://public.example@127.0.0.1:PORT/', /user name/],
    ['a user name and password', 'https://hidden-user:hidden-word@public.example/', /user name/],
    ['an escaped @', 'https://public.example%40127.0.0.1/', /not a URL/],
    ['a fragment before the @', 'http://127.0.0.1:PORT#@public.example/', /loopback/],
    ['a backslash before the @', 'https://127.0.0.1:PORT\\@public.example/', /backslash/],
    ['backslashes for slashes', 'https:\\\\127.0.0.1:PORT\\', /backslash/],
    ['a tab in the host', 'http://127.0.\t0.1:PORT/', /control characters/],
    ['a newline in the scheme', 'ht\ntp://127.0.0.1:PORT/', /control characters/],
    ['a carriage return and a header', 'https://public.example/\r\nHost: 127.0.0.1', /control characters/],
    ['a zero byte', 'https://public.example\u0000.127.0.0.1/', /control characters/],
    ['a leading blank', ' http://127.0.0.1:PORT/', /blanks/],
    ['a soft hyphen', 'http://127.0.0.\u00ad1:PORT/', /control characters/],
    ['no slashes', 'http:127.0.0.1:PORT', /loopback/],
    ['too many slashes', 'http:////127.0.0.1:PORT/', /loopback/],
    ['no scheme', '//127.0.0.1:PORT/', /not a URL/],
    ['no host', 'https://', /not a URL/],
    ['a dot for a host', 'https://./', /no host|not a URL/],
    ['nothing', '', /not a URL/],
    ['a file', 'file:///etc/passwd', /file is not https/],
    ['a file of a host', 'file://127.0.0.1/etc/passwd', /file is not https/],
    ['gopher', 'gopher://127.0.0.1:PORT/_GET%20/', /gopher is not https/],
    ['ftp', 'ftp://127.0.0.1/', /ftp is not https/],
    ['data', 'data:text/plain,hello', /data is not https/],
    ['javascript', 'javascript:alert(1)', /javascript is not https/],
    ['a blob', 'blob:https://public.example/1', /blob is not https/],
    ['web sockets', 'wss://public.example/', /wss is not https/],
    ['ldap', 'ldap://127.0.0.1:389/', /ldap is not https/],
    ['dict', 'dict://127.0.0.1:11211/stats', /dict is not https/],
    ['an address out of range', 'https://256.1.1.1/', /not a URL/],
    ['an address with five parts', 'https://127.0.0.1.1/', /not a URL/],
    ['a port out of range', 'https://public.example:99999/', /not a URL/],
    ['an IPv6 address that is none', 'https://[::g]/', /not a URL/],
  ];
  it.each(hostile)('is refused: %s', async (_title, template, why) => {
    const failure = await failureOf(get(template.replaceAll('PORT', String(port)), guardFor()));
    expect(failure).toMatchObject({ code: 'URL_REFUSED', retryable: false, outcome: 'refused', message: expect.stringMatching(/^Downloading failed: /) as unknown });
    expect(failure.message).toMatch(why);
    expect(failure.message).not.toMatch(/hidden/);
    expect([attempts, seen]).toEqual([[], []]);
  });
  it('has been tried in more than 60 ways', () => expect(hostile.length).toBeGreaterThan(60));

  it('may be any public https address', async () => {
    expect(await guardFor().check(new URL('https://public.example/recording?signature=x'))).toEqual([{ address: PUBLIC, family: 4 }, { address: PUBLIC_6, family: 6 }]);
    expect(await guardFor().check(new URL(`https://[${PUBLIC_6}]/`))).toHaveLength(1);
    expect([PUBLIC, '1.1.1.1', '2606:4700:4700::1111', '11.0.0.1', '172.32.0.1', '100.128.0.1'].map(specialKindOf)).toEqual(Array(6).fill(undefined));
  });

  it('is never shown with what opens it, and is a mistake of whoever sent it', async () => {
    const failure = await failureOf(get('https://private.example/hidden/path?token=hidden#hidden', guardFor()));
    expect(`${failure.message} ${failure.advice} ${failure.stack}`).not.toContain('hidden');
    expect(failure.message).toContain('https://private.example is refused');
    expect(toProblem(failure).problem).toMatchObject({ status: 422, detail: failure.message, advice: failure.advice });
  });

  it('says that nothing was sent when there is no such name', async () => {
    expect(await failureOf(get('https://nowhere.example/', guardFor()))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'refused', message: expect.stringContaining('ENOTFOUND') as unknown });
  });
});

describe('DNS that answers otherwise the second time', () => {
  it('is asked once: the connection goes to the address that was checked', async () => {
    const guard = guardFor({ allow: `${NOBODY}/32` });
    const failure = await send({ system: 'the store', doing: 'Downloading', url: `http://rebinding-listed.example:${port}/`, guard, signal: never, timeoutMs: 500 }).catch((error: unknown) => error);
    expect(isAftercallError(failure) && failure.outcome).toBe('refused');
    expect(attempts).toEqual([`${NOBODY}:${port}`]);
    expect(seen).toEqual([]);
    expect(dns.asked).toEqual(['rebinding-listed.example A', 'rebinding-listed.example AAAA']);
  });

  it('is believed neither time', async () => {
    const guard = guardFor();
    const url = new URL('https://rebinding.example/');
    expect(await guard.check(url)).toEqual([{ address: PUBLIC, family: 4 }]);
    await expect(guard.check(url)).rejects.toMatchObject({ code: 'URL_REFUSED' });
    expect(attempts).toEqual([]);
  });
});

describe('a redirect', () => {
  const here = (path = '/'): string => `http://listed.example:${port}${path}`;
  const guard = (): Guard => guardFor({ allow: `listed.example:${port}` });
  const redirectTo = (location: string, status = 302) => {
    answer = (request, response) => void (request.url === '/' ? response.writeHead(status, { location }).end() : response.end('there'));
  };

  it.each([
    ['to the metadata', 'http://169.254.169.254/latest/', /cloud metadata/],
    ['to loopback', 'https://127.0.0.1/', /loopback/],
    ['to this very server by another name', 'http://localhost:PORT/', /this machine/],
    ['to a private name', 'https://private.example/', /private/],
    ['to a place without TLS', 'http://public.example/', /not https/],
    ['without a scheme of its own', '//private.example:8080/', /private/],
    ['to a file', 'file:///etc/passwd', /file is not https/],
    ['with a password', 'https://a:b@public.example/', /user name/],
    ['with a newline', 'http://listed.example\t/', /control characters/],
  ])('%s is refused', async (_title, location, why) => {
    redirectTo(location.replaceAll('PORT', String(port)));
    const failure = await failureOf(get(here(), guard()));
    expect(failure).toMatchObject({ code: 'URL_REFUSED', message: expect.stringMatching(why) as unknown });
    expect(seen).toHaveLength(1);
  });

  it.each([301, 302, 303, 307, 308])('with %d to an allowed place is followed', async (status) => {
    redirectTo('/there', status);
    expect(await textFrom(here(), guard())).toBe('there');
  });

  it('is followed three times and no more', async () => {
    answer = (request, response) => {
      const left = Number(request.url!.slice(1));
      if (left === 0) response.end('arrived');
      else response.writeHead(302, { location: `/${left - 1}` }).end();
    };
    expect(await textFrom(here('/3'), guard())).toBe('arrived');
    seen = [];
    expect(await failureOf(get(here('/4'), guard()))).toMatchObject({ code: 'URL_REFUSED', message: expect.stringContaining('3 redirects') as unknown });
    expect(seen).toHaveLength(4);
  });

  it('in a circle comes to an end', async () => {
    answer = (_request, response) => void response.writeHead(302, { location: here() }).end();
    expect(await failureOf(get(here(), guard()))).toMatchObject({ code: 'URL_REFUSED' });
    expect(seen).toHaveLength(4);
  });

  it('takes no keys to another origin, but what says what is wanted', async () => {
    const keys = { authorization: 'Bearer hidden', cookie: 'session=hidden', 'x-api-key': 'hidden', range: 'bytes=5-' };
    redirectTo('/there');
    await get(here(), guard(), keys);
    expect(seen[1]!.headers).toMatchObject(keys);
    seen = [];
    redirectTo(`http://deep.listed.example:${port}/there`);
    await get(here(), guardFor({ allow: 'listed.example, *.listed.example' }), keys);
    expect(seen[1]!.headers).toMatchObject({ host: `deep.listed.example:${port}`, range: 'bytes=5-' });
    expect(JSON.stringify(seen[1]!.headers)).not.toContain('hidden');
  });

  it('takes no body anywhere', async () => {
    redirectTo('/there', 307);
    const failure = await failureOf(send({ system: 'the store', doing: 'Sending', url: here(), guard: guard(), method: 'POST', body: '{}', signal: never }));
    expect(failure).toMatchObject({ code: 'UPSTREAM_REJECTED', outcome: 'refused' });
    expect(seen).toHaveLength(1);
  });
});

describe('the list of allowed hosts', () => {
  it.each([
    ['a name', 'listed.example', 'http://listed.example:PORT/'],
    ['a name in capitals', 'LISTED.example', 'http://listed.EXAMPLE:PORT/'],
    ['a name with a trailing dot', 'listed.example', 'http://listed.example.:PORT/'],
    ['a name with its port', 'listed.example:PORT', 'http://listed.example:PORT/'],
    ['the names below one', '*.listed.example', 'http://deep.listed.example:PORT/'],
    ['an address', '127.0.0.1', 'http://127.0.0.1:PORT/'],
    ['an address, whatever its spelling', '127.0.0.1', 'http://0x7f.1:PORT/'],
    ['an address with its port', '127.0.0.1:PORT', 'http://127.0.0.1:PORT/'],
    ['a network', '127.0.0.0/8', 'http://127.0.0.1:PORT/'],
    ['a network, by name', '10.0.0.0/8 127.0.0.0/8', 'http://loopback.example:PORT/'],
  ])('opens %s', async (_title, list, url) => {
    expect(await textFrom(url.replace('PORT', String(port)), guardFor({ allow: list.replace('PORT', String(port)) }))).toBe('here');
  });

  it.each([
    ['another port', 'listed.example:1', 'http://listed.example:PORT/'],
    ['another name', 'listed.example', 'http://loopback.example:PORT/'],
    ['a name that ends like it', 'ed.example', 'http://listed.example:PORT/'],
    ['the name itself by those below it', '*.listed.example', 'http://listed.example:PORT/'],
    ['another network', '10.0.0.0/8', 'http://loopback.example:PORT/'],
    ['the metadata by a name', 'links.example', 'http://links.example/'],
    ['the metadata by a network that it is not in', '10.0.0.0/8', 'http://links.example/'],
    ['a password', 'listed.example', 'http://a:b@listed.example:PORT/'],
  ])('does not open %s', async (_title, list, url) => {
    expect(await failureOf(get(url.replace('PORT', String(port)), guardFor({ allow: list })))).toMatchObject({ code: 'URL_REFUSED' });
    expect(attempts).toEqual([]);
  });

  it('is taken from the settings, which say what cannot be read', () => {
    expect(loadConfig({ ...complete, OUTBOUND_ALLOW: 'a.example, [::1]:9000,10.0.0.0/8' }).OUTBOUND_ALLOW?.entries).toEqual(['a.example', '[::1]:9000', '10.0.0.0/8']);
    for (const wrong of ['https://a.example', '10.0.0.0/33', 'a.example:0', 'a.example:port', '*', 'a.*.example', '2130706433', '0x7f.1', '300.1.1.1', '::1:', '[127.0.0.1]', 'a..example', 'fe80::1%eth0']) {
      expect(() => loadConfig({ ...complete, OUTBOUND_ALLOW: `b.example,${wrong}` })).toThrow(ConfigError);
    }
  });
});

describe('on-premise mode', () => {
  it('reaches what is listed, and looks up no other name', async () => {
    const guard = guardFor({ only: `listed.example, 127.0.0.1:${port}, 10.0.0.0/8`, allow: 'deep.listed.example' });
    expect(await textFrom(`http://listed.example:${port}/`, guard)).toBe('here');
    expect(await textFrom(`http://127.0.0.1:${port}/`, guard)).toBe('here');
    attempts = [];
    dns.asked.length = 0;
    for (const url of ['https://public.example/', `https://${PUBLIC}/`, 'https://private.example/', `http://deep.listed.example:${port}/`, 'https://secrets-as-a-name.example/']) {
      expect(await failureOf(get(url, guard))).toMatchObject({ code: 'URL_REFUSED', message: expect.stringContaining('OUTBOUND_ONLY') as unknown });
    }
    expect([attempts, dns.asked]).toEqual([[], []]);
  });

  it('includes, for npm start, what is started on this machine, and says so', () => {
    const state = { apiToken: complete['API_TOKEN']!, keys: complete['AFTERCALL_KEYS']! };
    const plan = planLaunch({ OUTBOUND_ONLY: 'recordings.example', OUTBOUND_ALLOW: '10.0.0.0/8' }, { folder: '/nowhere', state });
    expect(plan.settings['OUTBOUND_ONLY']).toBe('recordings.example,127.0.0.1');
    expect(plan.remarks).toEqual([expect.stringContaining('127.0.0.1 is added')]);
    const urls = { webex: 'http://127.0.0.1:1001', openai: 'http://127.0.0.1:1002', salesforce: 'http://127.0.0.1:1003', amocrm: 'http://127.0.0.1:1004', telegram: 'http://127.0.0.1:1005' };
    expect(standInSettings(plan.standIns, urls, plan.settings)).toMatchObject({ OUTBOUND_ALLOW: '10.0.0.0/8,127.0.0.1:1001,127.0.0.1:1002,127.0.0.1:1003,127.0.0.1:1004,127.0.0.1:1005', TELEGRAM_BASE_URL: urls.telegram });
  });

  it('does not start with a setting that leads elsewhere', () => {
    const env = { ...complete, DATABASE_URL: 'postgres://u:p@db.internal.example/calls' };
    expect(() => loadConfig({ ...env, OUTBOUND_ONLY: '127.0.0.1, db.internal.example:5432' })).not.toThrow();
    const only = (list: string, more: Record<string, string> = {}) => (): unknown => loadConfig({ ...env, ...more, OUTBOUND_ONLY: list });
    expect(only('127.0.0.1')).toThrow(/DATABASE_URL leads to db\.internal\.example:5432/);
    expect(only('*.internal.example, 127.0.0.1:1')).toThrow(/TEMPORAL_ADDRESS leads to 127\.0\.0\.1:7233/);
    expect(only('*.internal.example, 127.0.0.1', { STT_BASE_URL: 'https://stt.example.com/v1' })).toThrow(/STT_BASE_URL leads to stt\.example\.com:443/);
    const amoCrm = { AMOCRM_CLIENT_ID: 'i', AMOCRM_CLIENT_SECRET: 's', AMOCRM_REFRESH_TOKEN: 'r', AMOCRM_REDIRECT_URI: 'https://aftercall.example/' };
    expect(only('*.internal.example, 127.0.0.1', { ...amoCrm, AMOCRM_BASE_URL: 'https://example.kommo.com' })).toThrow(/AMOCRM_BASE_URL leads to example\.kommo\.com:443/);
    expect(only('*.internal.example, 127.0.0.1', { OBJECTS_DIR: '', S3_BUCKET: 'b', ATHENA_OUTPUT: 's3://b/' })).toThrow(/S3_BUCKET leads to b\.s3\.ap-southeast-1\.amazonaws\.com:443[^]*GLUE_DATABASE leads to glue\.[^]*ATHENA_OUTPUT leads to athena\./);
    expect(only('*.internal.example, 127.0.0.1, 10.1.0.5:9000', { OBJECTS_DIR: '', S3_BUCKET: 'b', ATHENA_OUTPUT: 's3://b/', AWS_ENDPOINT_URL: 'http://10.1.0.5:9000' })).not.toThrow();
  });
});

describe('an answer without end', () => {
  it('breaks off at the limit, and the sender is told no more', async () => {
    const endless = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024, 0x20)));
        response.once('drain', more);
      };
      more();
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = endless.address() as AddressInfo;
      const api = fetchThrough(createGuard({ allow: parseHostList('127.0.0.1') }), 1024 * 1024);
      const closed = new Promise((resolve) => endless.once('connection', (socket: Socket) => socket.once('close', resolve)));
      const response = await api(`http://127.0.0.1:${port}/`);
      await expect(response.text()).rejects.toMatchObject({ code: 'UPSTREAM_NONSENSE', message: expect.stringContaining('1 MB') as unknown });
      // The connection is not left open for the rest.
      await closed;
    } finally {
      endless.closeAllConnections();
      await new Promise((resolve) => endless.close(resolve));
    }
  });
});
