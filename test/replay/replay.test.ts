import { readdir, readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { Worker } from '@temporalio/worker';
import { bundleWorkflows } from '../../src/workers.ts';
import { shapes, STARTS } from './shapes.ts';

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

  it('has a history of every workflow', () => {
    expect(Object.keys(STARTS).filter((workflow) => !shapes().some((shape) => shape.workflow === workflow))).toEqual([]);
  });

  it.each(files)('has nothing in %s of the machine that recorded it', async (file) => {
    const history = await readFile(new URL(file, folder), 'utf8');
    // A path, a process at a host, or an address in it.
    expect(history.match(/(?:file:\/\/|"|\s|\()\/[\w.-]+\/[^"]*|\d+@[\w.-]+|\b\d{1,3}(?:\.\d{1,3}){3}\b/g)).toBeNull();
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
