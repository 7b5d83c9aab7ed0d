import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type Child, keepRunning } from '../../scripts/keep-running.ts';
import { isRunning } from '../../scripts/processes.ts';

/** Real processes that do nothing until they are ended. */
const idle: Child[] = [];
const startIdle = async (): Promise<Child> => {
  const process = spawn('sleep', ['600'], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => process.once('exit', () => resolve()));
  const child: Child = {
    pid: process.pid!,
    ended,
    stop: async () => {
      process.kill('SIGTERM');
      await ended;
    },
  };
  idle.push(child);
  return child;
};
afterEach(async () => {
  await Promise.all(idle.splice(0).map((child) => child.stop()));
});
const newest = (): Child => idle.at(-1)!;
const killAndAwaitNext = async (): Promise<void> => {
  const before = newest();
  process.kill(before.pid, 'SIGKILL');
  while (newest() === before) await sleep(5);
};

describe('a child that is kept running', () => {
  it('is started again when it ends unasked, and whoever keeps its ID is told', async () => {
    const told: number[] = [];
    const kept = keepRunning({ name: 'it', child: await startIdle(), again: startIdle, onStart: async ({ pid }) => void told.push(pid) });
    await killAndAwaitNext();
    await sleep(20);
    expect(told).toEqual([newest().pid]);
    await kept.stop();
    expect(idle).toHaveLength(2);
    expect(idle.map(({ pid }) => isRunning(pid))).toEqual([false, false]);
  });

  it('is given up when it ends again and again', async () => {
    const kept = keepRunning({ name: 'it', child: await startIdle(), again: startIdle, limit: 3, withinMs: 60_000 });
    await killAndAwaitNext();
    await killAndAwaitNext();
    process.kill(newest().pid, 'SIGKILL');
    await expect(kept.lost).rejects.toThrow('it ended 3 times within 60 s.');
    expect(idle).toHaveLength(3);
  });

  it('is not given up when its ends lie far apart', async () => {
    const kept = keepRunning({ name: 'it', child: await startIdle(), again: startIdle, limit: 2, withinMs: 50 });
    for (let times = 3; times > 0; times -= 1) {
      await killAndAwaitNext();
      await sleep(80);
    }
    expect(isRunning(newest().pid)).toBe(true);
    await kept.stop();
  });

  it('is given up when it cannot be started again', async () => {
    const kept = keepRunning({ name: 'it', child: await startIdle(), again: () => Promise.reject(new Error('its port is taken')) });
    process.kill(newest().pid, 'SIGKILL');
    await expect(kept.lost).rejects.toThrow('its port is taken');
  });

  it('leaves nothing behind when it is stopped while another one starts', async () => {
    let starting = false;
    const slowly = async (): Promise<Child> => {
      starting = true;
      await sleep(100);
      return startIdle();
    };
    const kept = keepRunning({ name: 'it', child: await startIdle(), again: slowly });
    process.kill(newest().pid, 'SIGKILL');
    while (!starting) await sleep(5);
    await kept.stop();
    expect(idle.map(({ pid }) => isRunning(pid))).toEqual([false, false]);
  });
});
