import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DIALOGUES } from '../sandbox/calls/dialogues.ts';
import type { ScriptLine } from '../sandbox/calls/script.ts';

/**
 * Makes the sample calls' audio: customer on channel 0, agent on channel 1, small Opus files, and beside
 * each the lines with the times at which they are spoken. Needs espeak-ng and ffmpeg; run once, commit.
 */
const run = promisify(execFile);
const target = fileURLToPath(new URL('../sandbox/calls/audio/', import.meta.url));
const RATE = 16_000;
const PAUSE_MS = 350;
const VOICE = { C: ['-v', 'en-gb', '-p', '35', '-s', '165'], A: ['-v', 'en-us+f3', '-p', '60', '-s', '170'] } as const;

/** Addresses and numbers as a person would say them. */
const spoken = (text: string): string =>
  text
    .replaceAll(/\b[A-Z0-9]{6,}\b/g, (code) => (/\d/.test(code) ? [...code].join(' ') : code))
    .replaceAll(/\b00Q\w+/g, (code) => [...code].join(' '))
    .replaceAll(/(\w)@(\w)/g, '$1 at $2')
    .replaceAll('.example', ' dot example');

const silence = (ms: number): Buffer => Buffer.alloc(Math.round((ms * RATE) / 1_000) * 2);

await mkdir(target, { recursive: true });
for (const [name, lines] of Object.entries(DIALOGUES)) {
  const folder = await mkdtemp(join(tmpdir(), 'calls-'));
  const channels: [Buffer[], Buffer[]] = [[], []];
  const script: ScriptLine[] = [];
  let atMs = 400;
  channels[0].push(silence(atMs));
  channels[1].push(silence(atMs));
  for (const [index, line] of lines.entries()) {
    const who = line[0] as 'A' | 'C';
    const text = line.slice(3);
    const wav = join(folder, `${index}.wav`);
    const raw = join(folder, `${index}.raw`);
    await run('espeak-ng', [...VOICE[who], '-w', wav, spoken(text)]);
    await run('ffmpeg', ['-v', 'error', '-i', wav, '-ac', '1', '-ar', String(RATE), '-f', 's16le', raw]);
    const speech = await readFile(raw);
    const durationMs = Math.round((speech.byteLength / 2 / RATE) * 1_000);
    const channel = who === 'C' ? 0 : 1;
    channels[channel].push(speech, silence(PAUSE_MS));
    channels[1 - channel]!.push(silence(durationMs), silence(PAUSE_MS));
    script.push({ channel, speaker: who === 'C' ? 'customer' : 'agent', startMs: atMs, endMs: atMs + durationMs, text });
    atMs += durationMs + PAUSE_MS;
  }
  const [left, right] = channels.map((chunks) => Buffer.concat(chunks)) as [Buffer, Buffer];
  const samples = Math.max(left.byteLength, right.byteLength) / 2;
  const stereo = Buffer.alloc(samples * 4);
  for (let at = 0; at < samples; at += 1) {
    if (at * 2 + 1 < left.byteLength) stereo.writeInt16LE(left.readInt16LE(at * 2), at * 4);
    if (at * 2 + 1 < right.byteLength) stereo.writeInt16LE(right.readInt16LE(at * 2), at * 4 + 2);
  }
  const pcm = join(folder, 'call.raw');
  await writeFile(pcm, stereo);
  // Channels are coded apart (mapping family 255): joint coding would let one bleed into the other.
  await run('ffmpeg', ['-v', 'error', '-y', '-f', 's16le', '-ar', String(RATE), '-ac', '2', '-i', pcm, '-c:a', 'libopus', '-b:a', '24k', '-mapping_family', '255', '-map_metadata', '-1', '-fflags', '+bitexact', '-flags:a', '+bitexact', join(target, `${name}.ogg`)]);
  await writeFile(join(target, `${name}.json`), `${JSON.stringify(script, null, 1)}\n`);
  await rm(folder, { recursive: true });
  process.stderr.write(`${name}: ${Math.round(atMs / 1_000)} s, ${lines.length} lines\n`);
}
