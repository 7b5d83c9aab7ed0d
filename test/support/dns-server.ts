import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import type { Address } from '../../src/adapters/http/guard.ts';

const A = 1;
const AAAA = 28;

/** A real DNS server on loopback. Each look-up of a name gets its next answer, the last one for good. */
export const startDnsServer = async (zone: Record<string, string[][]>) => {
  const asked: string[] = [];
  const lookups = new Map<string, number>();
  const socket = createSocket('udp4');
  socket.on('message', (query, { address, port }) => {
    const { name, type, end } = readQuestion(query);
    asked.push(`${name} ${type === A ? 'A' : 'AAAA'}`);
    const answers = zone[name];
    const nth = lookups.get(`${name} ${type}`) ?? 0;
    lookups.set(`${name} ${type}`, nth + 1);
    const addresses = (answers?.[Math.min(nth, answers.length - 1)] ?? []).filter((each) => isIPv6(each) === (type === AAAA));
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(answers ? 0x8180 : 0x8183, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(addresses.length, 6);
    socket.send(Buffer.concat([header, query.subarray(12, end), ...addresses.map((each) => recordOf(each, type))]), port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${socket.address().port}`]);
  return {
    asked,
    /** All addresses of a name, asked of this server. */
    async resolve(name: string): Promise<Address[]> {
      const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
      const found = [...(four.status === 'fulfilled' ? four.value : []), ...(six.status === 'fulfilled' ? six.value : [])];
      if (found.length === 0 && four.status === 'rejected') throw four.reason;
      return found.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
    },
    stop: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  };
};

const readQuestion = (query: Buffer): { name: string; type: number; end: number } => {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
};

const recordOf = (address: string, type: number): Buffer => {
  const bytes = type === A ? Buffer.from(address.split('.').map(Number)) : bytesOf(address);
  const record = Buffer.alloc(12);
  // The name of the question, with a lifetime of nothing.
  record.writeUInt16BE(0xc00c, 0);
  record.writeUInt16BE(type, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt16BE(bytes.length, 10);
  return Buffer.concat([record, bytes]);
};

const bytesOf = (address: string): Buffer => {
  const [head = '', tail] = address.split('::');
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const zeros = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...(tail === undefined ? [] : Array<string>(zeros).fill('0')), ...groups(tail)];
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
};
