import { CancellationScope } from '@temporalio/workflow';
import type { PresetTestInput } from '../domain/preset-test.ts';
import { reasonOf } from './failure.ts';
import { presetTestActivities } from './proxies.ts';

/**
 * Tries a preset on one stored call.
 *
 * A workflow because a long call takes minutes, and what was paid for must not be lost with the process
 * that took the request. Its input names the test; the preset and its keys stay in the database.
 */
export async function presetTest({ project, testId, pace }: PresetTestInput): Promise<void> {
  const { runPresetTest, failPresetTest } = presetTestActivities(pace);
  try {
    await runPresetTest({ project, testId });
  } catch (error) {
    await CancellationScope.nonCancellable(() => failPresetTest({ project, testId, error: reasonOf(error) }));
  }
}
