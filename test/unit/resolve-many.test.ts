import { describe, expect, it } from '@jest/globals';
import { resolveMany } from '../../src/api/resolve-many.ts';
import { AftercallError, type ErrorCode } from '../../src/domain/errors.ts';

const rows = (count: number) => Array.from({ length: count }, (_, index) => ({ voiceCallId: `vc_${index}` }));
const failed = (code: ErrorCode, message: string): AftercallError => new AftercallError(code, message, { advice: 'Look.', outcome: 'refused' });
const indexOf = ({ voiceCallId }: { voiceCallId: string }): number => Number(voiceCallId.slice(3));
/** Lets others go first, as an answer over the network does. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('many calls that are resolved at once', () => {
  it('are all tried, once each and few at the same time, and what is refused is told by its reason', async () => {
    const tried: string[] = [];
    let now = 0;
    let most = 0;
    const outcome = await resolveMany(rows(100), async (row) => {
      tried.push(row.voiceCallId);
      most = Math.max(most, (now += 1));
      await turn();
      now -= 1;
      if (indexOf(row) % 4 === 0) throw failed('CONFLICT', 'It waits for nobody.');
      if (indexOf(row) % 4 === 1) return 'still_waiting';
      return 'resolved';
    });
    expect(outcome).toEqual({ resolved: 50, stillWaiting: 25, refused: [{ why: 'It waits for nobody.', advice: 'Look.', calls: 25, voiceCallIds: Array.from({ length: 10 }, (_, index) => `vc_${index * 4}`) }], tried: 100 });
    expect([new Set(tried).size, tried.length, most]).toEqual([100, 100, 8]);
  });

  it('are not tried to the last where nobody acts any more', async () => {
    const outcome = await resolveMany(rows(100), async (row) => {
      await turn();
      if (indexOf(row) >= 20) throw failed('UPSTREAM_TIMEOUT', 'No worker answered.');
      return 'resolved';
    });
    expect([outcome.resolved, outcome.refused[0]!.why]).toEqual([20, 'No worker answered.']);
    expect(outcome.tried).toBeGreaterThan(20);
    expect(outcome.tried).toBeLessThanOrEqual(28);
  });

  it('are an outage as a whole where nobody acts at all', async () => {
    await expect(resolveMany(rows(100), async () => turn().then(() => { throw failed('UPSTREAM_TIMEOUT', 'No worker answered.'); }))).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
    expect(await resolveMany([], async () => 'resolved')).toEqual({ resolved: 0, stillWaiting: 0, refused: [], tried: 0 });
  });
});
