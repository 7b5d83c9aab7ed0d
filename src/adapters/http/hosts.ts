import { BlockList, isIP, isIPv6 } from 'node:net';

/**
 * Ranges that do not belong to the public internet, by what they are (IANA's special-purpose registries, and
 * the addresses at which clouds answer their own machines).
 */
const NOT_PUBLIC: Record<4 | 6, Record<string, string[]>> = {
  4: {
    'cloud metadata': ['169.254.169.254/32', '169.254.170.2/32', '168.63.129.16/32', '100.100.100.200/32', '192.0.0.192/32'],
    unspecified: ['0.0.0.0/8'],
    loopback: ['127.0.0.0/8'],
    'link-local': ['169.254.0.0/16'],
    private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'],
    'carrier-grade NAT': ['100.64.0.0/10'],
    'protocol assignments': ['192.0.0.0/24'],
    documentation: ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24'],
    '6to4 relay': ['192.88.99.0/24'],
    benchmarking: ['198.18.0.0/15'],
    multicast: ['224.0.0.0/4'],
    reserved: ['240.0.0.0/4'],
  },
  6: {
    'cloud metadata': ['fd00:ec2::254/128', 'fd00:ec2::23/128', 'fd20:ce::254/128'],
    unspecified: ['::/128'],
    loopback: ['::1/128'],
    'IPv4-mapped': ['::ffff:0:0/96'],
    'IPv4-translated': ['::ffff:0:0:0/96'],
    'IPv4-compatible': ['::/96'],
    NAT64: ['64:ff9b::/96', '64:ff9b:1::/48'],
    'discard-only': ['100::/64'],
    Teredo: ['2001::/32'],
    'protocol assignments': ['2001::/23'],
    documentation: ['2001:db8::/32', '3fff::/20'],
    '6to4': ['2002::/16'],
    'unique local': ['fc00::/7'],
    'link-local': ['fe80::/10'],
    'site-local': ['fec0::/10'],
    multicast: ['ff00::/8'],
  },
};

/** Nothing that somebody means by a name of theirs: only the address itself on a list opens these. */
const NEVER_BY_NAME = new Set(['cloud metadata', 'unspecified', 'link-local', 'multicast', 'reserved', 'discard-only']);

const rangeOf = (cidr: string): BlockList => {
  const [address, bits] = cidr.split('/') as [string, string];
  const list = new BlockList();
  list.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4');
  return list;
};
// Kept apart by family: a list takes an IPv4 address for its IPv4-mapped form, and back.
const KINDS = { 4: Object.entries(NOT_PUBLIC[4]), 6: Object.entries(NOT_PUBLIC[6]) };
const RANGES = { 4: KINDS[4].map(([kind, cidrs]) => ({ kind, ranges: cidrs.map(rangeOf) })), 6: KINDS[6].map(([kind, cidrs]) => ({ kind, ranges: cidrs.map(rangeOf) })) };
/** All that is given out for the public so far; the rest is nobody's or special. */
const GLOBAL_UNICAST = rangeOf('2000::/3');

const within = (list: BlockList, address: string): boolean => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');

/** What an address is when it is not public: `loopback`, `private`, `cloud metadata` and so on. */
export const specialKindOf = (address: string): string | undefined => {
  const family = isIP(address);
  // A zone (`%eth0`) means a link of this machine.
  if (family === 0 || address.includes('%')) return 'not an address';
  const found = RANGES[family as 4 | 6].find(({ ranges }) => ranges.some((range) => within(range, address)));
  if (found) return found.kind;
  return family === 6 && !within(GLOBAL_UNICAST, address) ? 'unassigned' : undefined;
};

/** Whether a name that is on a list may lead there. */
export const mayBeNamed = (address: string): boolean => !NEVER_BY_NAME.has(specialKindOf(address) ?? 'public') && !address.includes('%');

/** Hosts and networks that an installation names in a setting. */
export interface HostList {
  /** As they were written. */
  readonly entries: readonly string[];
  hasName(name: string, port: number): boolean;
  hasAddress(address: string, port: number): boolean;
}

/**
 * Reads a list such as `recordings.example.com, *.internal.example:8443, 127.0.0.1, 10.20.0.0/16, [::1]:9000`.
 *
 * Without a port, an entry means all ports. `*.internal.example` means every name below it, not itself.
 *
 * @throws Error naming the first entry that cannot be read
 */
export const parseHostList = (text: string): HostList => {
  const entries = text.split(/[\s,]+/).filter(Boolean);
  const read = entries.map(parseEntry);
  return {
    entries,
    hasName: (name, port) => read.some((entry) => 'matches' in entry && opens(entry.port, port) && entry.matches(name)),
    hasAddress: (address, port) => isIP(address) !== 0 && !address.includes('%') && read.some((entry) => 'network' in entry && opens(entry.port, port) && within(entry.network, address)),
  };
};

type Entry = { port: number | undefined } & ({ matches(name: string): boolean } | { network: BlockList });

const opens = (listed: number | undefined, port: number): boolean => listed === undefined || listed === port;

const NAME = /^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;

const parseEntry = (entry: string): Entry => {
  const wrong = (why: string): Error => new Error(`has ${JSON.stringify(entry)}: ${why}`);
  const [address = '', bits] = entry.split('/');
  if (bits !== undefined) {
    const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
    if (!/^\d{1,3}$/.test(bits) || Number(bits) > most) throw wrong('a network is an address and its bits, as 10.20.0.0/16');
    return { port: undefined, network: rangeOf(entry) };
  }
  if (isIP(entry) !== 0 && !entry.includes('%')) return { port: undefined, network: single(entry) };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(entry) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (port === 0 || (port ?? 0) > 65_535) throw wrong('a port is a number from 1 to 65535');
  const host = bracketed ?? plain ?? '';
  if (isIP(host) !== 0 && !host.includes('%') && (bracketed === undefined) === (isIP(host) === 4)) return { port, network: single(host) };
  const name = host.toLowerCase().replace(/\.$/, '');
  // The last label of a name is never a number; what looks like it is an address in another spelling.
  if (!NAME.test(name) || /(^|\.)(\d+|0x[0-9a-f]*)$/.test(name)) throw wrong('an entry is a host name, *.name, an address or a network, and perhaps a port');
  return { port, matches: name.startsWith('*.') ? (other) => other.endsWith(name.slice(1)) && other.length > name.length - 1 : (other) => other === name };
};

const single = (address: string): BlockList => {
  const list = new BlockList();
  list.addAddress(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  return list;
};
