import { readdir, readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { Worker } from '@temporalio/worker';
import { bundleWorkflows } from '../../src/workers.ts';
import { shapes } from './shapes.ts';

const folder = new URL('./histories/', import.meta.url);
const files = await readdir(folder);
let workflowBundle: Awaited<ReturnType<typeof bundleWorkflows>>;

beforeAll(async () => {
  workflowBundle = await bundleWorkflows();
});

describe('running workflows survive this version of the code', () => {
  it('has a history for every shape', () => {
    expect(shapes().map(({ name }) => `${name}.json`).filter((file) => !files.includes(file))).toEqual([]);
  });

  it.each(files)('replays %s', async (file) => {
    const history: unknown = JSON.parse(await readFile(new URL(file, folder), 'utf8'));
    await Worker.runReplayHistory({ workflowBundle }, history, `call/default/${file}`);
  });

  it('would notice a change', async () => {
    const history = JSON.parse(await readFile(new URL('call-processed.json', folder), 'utf8')) as { events: { activityTaskScheduledEventAttributes?: { activityType: { name: string } } }[] };
    const first = history.events.find((event) => event.activityTaskScheduledEventAttributes)!;
    first.activityTaskScheduledEventAttributes!.activityType.name = 'somethingElse';
    await expect(Worker.runReplayHistory({ workflowBundle }, history, 'call/default/changed')).rejects.toThrow(/[Nn]ondeterminism/);
  });
});
