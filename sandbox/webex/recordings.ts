import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ffmpeg } from '../audio.ts';
import type { SampleCall } from '../calls/script.ts';

/** How each kind of file is made from a committed one. */
const ENCODING: Record<NonNullable<SampleCall['recording']>['servedAs'], { extension: string; args: string[] }> = {
  wav: { extension: 'wav', args: ['-ar', '16000', '-c:a', 'pcm_s16le', '-f', 'wav'] },
  'mulaw-wav': { extension: 'wav', args: ['-ar', '8000', '-c:a', 'pcm_mulaw', '-f', 'wav'] },
  mp3: { extension: 'mp3', args: ['-ar', '16000', '-c:a', 'libmp3lame', '-b:a', '64k', '-f', 'mp3'] },
};

export interface ServedFile {
  fileName: string;
  contentType: string;
  bytes: number;
  read(start: number, end: number): AsyncIterable<Uint8Array>;
}

/** Recordings as Webex would serve them, encoded once and kept in the data folder. */
export const createRecordings = ({ audioFolder, dataFolder, ffmpegPath }: { audioFolder: string; dataFolder: string; ffmpegPath: string }) => {
  const making = new Map<string, Promise<string>>();

  const encode = async (recording: NonNullable<SampleCall['recording']>): Promise<string> => {
    const source = join(audioFolder, recording.file);
    // A WAV is served as it is: real recordings keep their codec, rate and header.
    if (recording.file.endsWith('.wav') && recording.servedAs === 'wav' && !recording.duplicatedMono && !recording.mixed) return source;
    const { extension, args } = ENCODING[recording.servedAs];
    const name = createHash('sha256').update(JSON.stringify(recording)).update(await readFile(source)).digest('hex').slice(0, 16);
    const path = join(dataFolder, 'recordings', `${name}.${extension}`);
    if (await stat(path).catch(() => undefined)) return path;
    const mix = recording.duplicatedMono ? ['-af', 'pan=stereo|c0=0.5*c0+0.5*c1|c1=0.5*c0+0.5*c1'] : recording.mixed ? ['-ac', '1'] : [];
    const temporary = `${path}.${randomUUID()}`;
    await mkdir(join(dataFolder, 'recordings'), { recursive: true });
    // To a file, not a pipe: only then does the header hold the length.
    await ffmpeg(ffmpegPath, ['-i', source, ...mix, ...args, '-y', temporary]);
    await rename(temporary, path);
    return path;
  };

  return {
    async open(recording: NonNullable<SampleCall['recording']>): Promise<ServedFile> {
      const key = JSON.stringify(recording);
      const path = await (making.get(key) ?? making.set(key, encode(recording)).get(key)!);
      const content = await readFile(path);
      return {
        fileName: `recording.${path.endsWith('.mp3') ? 'mp3' : 'wav'}`,
        contentType: path.endsWith('.mp3') ? 'audio/mpeg' : 'audio/wav',
        bytes: content.byteLength,
        read: async function* (start, end) {
          yield content.subarray(start, end + 1);
        },
      };
    },
  };
};

const HEADER_BYTES = 44;
const BLOCK = 64 * 1024;

/** A WAV of any size, made as it is read: 8 kHz, 16 bit, mono, a slow ramp that differs at every offset. */
export const generatedWav = (bytes: number): ServedFile => {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write('RIFF', 0);
  header.writeUInt32LE(bytes - 8, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(8_000, 24);
  header.writeUInt32LE(16_000, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(bytes - HEADER_BYTES, 40);
  const byteAt = (offset: number): number => (offset < HEADER_BYTES ? header[offset]! : (offset * 31 + (offset >>> 12)) & 0xff);
  return {
    fileName: 'recording.wav',
    contentType: 'audio/wav',
    bytes,
    read: async function* (start, end) {
      for (let at = start; at <= end; at += BLOCK) {
        const block = Buffer.allocUnsafe(Math.min(BLOCK, end - at + 1));
        for (let index = 0; index < block.length; index += 1) block[index] = byteAt(at + index);
        yield block;
      }
    },
  };
};
