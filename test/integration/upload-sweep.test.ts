import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import { toEvent } from '../../src/api/given-events.ts';
import { createUploadSweep } from '../../src/client/upload-sweep.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createGivenCalls } from '../../src/db/given-calls.ts';
import { createInbox } from '../../src/db/inbox.ts';
import { createUploads } from '../../src/db/uploads.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import type { GivenAudio } from '../../src/domain/given.ts';
import { uploadPrefix } from '../../src/domain/ids.ts';
import { anyDatabase } from '../support/postgres.ts';

const project = 'default';
const DAY_MS = 86_400_000;
const keyRing = createKeyRing(`k1:${Buffer.alloc(32, 7).toString('base64')}`);
let db: Database;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-uploads-'));
  db = await openDatabase(await anyDatabase());
  await migrate(db);
});
afterAll(async () => {
  await db?.destroy();
  await rm(folder, { recursive: true, force: true });
});

it('removes after a day what no call has, and nothing that one has or waits with', async () => {
  const uploads = createUploads(db);
  const objects = createFolderStore(folder);
  const sweep = createUploadSweep({ uploads, objects, log: { info: () => {}, warn: () => {} } });
  const keyOf = (name: string): string => `${uploadPrefix(project)}${name}.wav`;
  const details = (callId: string): CallDetails => ({ source: 'upload', callId, status: 'completed', direction: 'inbound', startedAtMs: 0 });
  const audio = (name: string): GivenAudio => ({ key: keyOf(name), bytes: 4, sha256: name, format: 'wav' });
  for (const name of ['lost', 'waiting', 'kept']) {
    await uploads.begin({ project, key: keyOf(name) });
    await objects.put(keyOf(name), 'RIFF', { contentType: 'audio/wav' });
  }
  // Its process died in the middle.
  await uploads.begin({ project, key: keyOf('cut-off') });
  const upload = await objects.openUpload(keyOf('cut-off'), { contentType: 'audio/wav' });
  await upload.write(Buffer.from('RI'));
  await upload.pause();
  // Written down, though whoever did so never heard of it.
  await createInbox(db, keyRing).receive(toEvent(project, 'upload', { details: details('waiting'), audio: audio('waiting') }));
  await createCalls(db).stage(project, [details('kept')], 'staged');
  await createGivenCalls(db, keyRing).keep({ project, callId: 'kept' }, { audio: audio('kept') });

  const files = async (): Promise<string[]> => (await readdir(folder, { recursive: true })).filter((name) => /lost|waiting|kept|cut-off/.test(name)).map((name) => name.split('/').at(-1)!).toSorted();
  const before = await files();
  expect(await sweep()).toBe(0);
  expect(await files()).toEqual(before);
  expect(await sweep(Date.now() + DAY_MS + 1_000)).toBe(2);
  expect(await files()).toEqual(['kept.wav', 'waiting.wav']);
  expect(await db.selectFrom('uploads').selectAll().execute()).toEqual([]);
});
