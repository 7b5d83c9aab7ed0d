import { readdir, readFile, readlink } from 'node:fs/promises';
import { isIPv4, Socket } from 'node:net';
import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Everything that this process reaches, and whom it asks for names, from now on. */
export const watchConnections = () => {
  const attempts = new Set<string>();
  const lookups: string[] = [];
  const natives = new Set<string>();
  const original = Socket.prototype.connect;
  // With and without TLS, every socket of Node begins here.
  Socket.prototype.connect = function (this: Socket, ...options: unknown[]): Socket {
    this.on('connectionAttempt', (address, port) => attempts.add(`${address}:${port}`));
    return (original as (...options: unknown[]) => Socket).apply(this, options);
  };
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) lookups.push((entry as unknown as { detail?: { hostname?: string } }).detail?.hostname ?? entry.name);
  });
  observer.observe({ entryTypes: ['dns'] });
  let stopped = false;
  // Native code (Temporal's) opens its own: seen where the system shows them.
  const sampling = (async () => {
    for (; !stopped; await sleep(50)) for (const address of await peersOfThisProcess()) natives.add(address);
  })();
  return {
    /** What Node's sockets tried to reach, as `address:port`. */
    attempts,
    /** Names that were looked up. */
    lookups,
    /** Addresses that any socket of the process was connected to. Empty where there is no `/proc`. */
    natives,
    async stop(): Promise<void> {
      stopped = true;
      await sampling;
      observer.disconnect();
      Socket.prototype.connect = original;
    },
  };
};

const LISTENING = '0A';

const peersOfThisProcess = async (): Promise<string[]> => {
  const inodes = new Set<string>();
  for (const fd of await readdir('/proc/self/fd').catch(() => [])) {
    const inode = /^socket:\[(\d+)\]$/.exec(await readlink(`/proc/self/fd/${fd}`).catch(() => ''))?.[1];
    if (inode) inodes.add(inode);
  }
  const tables = await Promise.all(['tcp', 'tcp6', 'udp', 'udp6'].map((name) => readFile(`/proc/self/net/${name}`, 'utf8').catch(() => '')));
  return tables.flatMap((table) =>
    table.split('\n').slice(1).flatMap((line) => {
      const [, , remote, state, , , , , , inode] = line.trim().split(/\s+/);
      const [hex, port] = remote?.split(':') ?? [];
      return hex && port !== '0000' && state !== LISTENING && inodes.has(inode ?? '') ? [addressOf(hex)] : [];
    }),
  );
};

/** The kernel shows each 32-bit word in the machine's byte order. */
const addressOf = (hex: string): string => {
  const bytes = [...hex.matchAll(/.{8}/g)].flatMap(([word]) => [...Buffer.from(word, 'hex')].reverse());
  const last = bytes.slice(-4).join('.');
  const mapped = bytes.length === 16 && bytes.slice(0, 12).join() === '0,0,0,0,0,0,0,0,0,0,255,255';
  return (bytes.length === 4 || mapped) && isIPv4(last) ? last : Buffer.from(bytes).toString('hex').replaceAll(/.{4}(?!$)/g, '$&:');
};
