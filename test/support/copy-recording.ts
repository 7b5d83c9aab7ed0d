import { setInterval } from 'node:timers';
import { copyRecording } from '../../src/activities/recording.ts';
import { createObjectStore } from '../../src/adapters/objects/registry.ts';
import { createWebex } from '../../src/adapters/sources/webex.ts';
import { loadConfig, withSystem } from '../../src/config.ts';
import type { Credentials } from '../../src/db/credentials.ts';
import { complete } from './config.ts';

/**
 * Copies the recording at a URL into the store that the environment names, in a process of its own.
 *
 * Usage: `node copy-recording.ts URL [URL]`. With a second URL, the first is copied before the measuring
 * begins: what the libraries load once is no growth. Prints what was stored and by how much the resident
 * memory grew at most, as JSON.
 */
const config = loadConfig({ ...complete, OBJECTS_DIR: '', ...process.env });
const objects = createObjectStore(config);
// Opening a signed link asks for no token, so there are no credentials to keep.
const source = createWebex({ config: withSystem(config, 'webex')!, credentials: {} as Credentials });
const copy = (url: string, callId: string) =>
  copyRecording({
    source,
    link: { recordingId: callId, fileName: 'recording.wav', url },
    objects,
    call: { project: 'default', callId },
    maxBytes: config.MAX_RECORDING_MB * 1024 * 1024,
    signal: new AbortController().signal,
  });

const urls = process.argv.slice(2);
if (urls.length > 1) await copy(urls[0]!, 'warm-up');
const baseline = process.memoryUsage.rss();
let most = baseline;
const watch = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 10);
const stored = await copy(urls.at(-1)!, 'copied');
clearInterval(watch);
process.stdout.write(`${JSON.stringify({ stored, grewBy: Math.max(most, process.memoryUsage.rss()) - baseline })}\n`);
