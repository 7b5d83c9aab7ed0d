import { isAftercallError } from '../domain/errors.ts';

export const MOST_RESOLVED = 500;
/** Each waits for a worker to act: a few at once keep more of them busy, and leave some to others. */
const AT_ONCE = 8;
/** Whoever asks waits for it. */
const BEGIN_FOR_MS = 60_000;
const MOST_NAMED = 10;

export interface ResolvedMany {
  resolved: number;
  stillWaiting: number;
  refused: { why: string; advice: string; calls: number; voiceCallIds: string[] }[];
  /** So many of the first were tried; the rest was not begun. */
  tried: number;
}

/**
 * Resolves one call after another, a few at once. A refusal of one keeps no other; where nobody acts at all, no further
 * ones are begun.
 *
 * @throws what is no refusal, or an outage when nothing was done at all
 */
export const resolveMany = async <Row extends { voiceCallId: string }>(rows: readonly Row[], resolve: (row: Row) => Promise<'resolved' | 'still_waiting'>): Promise<ResolvedMany> => {
  const refused = new Map<string, ResolvedMany['refused'][number]>();
  const outcome = { resolved: 0, stillWaiting: 0 };
  const untilMs = Date.now() + BEGIN_FOR_MS;
  let tried = 0;
  let isOut = false;
  let outage: Error | undefined;
  const one = async (row: Row): Promise<void> => {
    try {
      if ((await resolve(row)) === 'resolved') outcome.resolved += 1;
      else outcome.stillWaiting += 1;
    } catch (error) {
      if (!isAftercallError(error)) {
        isOut = true;
        throw error;
      }
      const { code, message, advice } = error;
      // Of one call; anything else is the same for all.
      if (code !== 'CONFLICT' && code !== 'NOT_FOUND') [isOut, outage] = [true, error];
      const why = refused.get(message) ?? { why: message, advice, calls: 0, voiceCallIds: [] };
      refused.set(message, why);
      why.calls += 1;
      if (why.voiceCallIds.length < MOST_NAMED) why.voiceCallIds.push(row.voiceCallId);
    }
  };
  const work = async (): Promise<void> => {
    while (tried < rows.length && !isOut && Date.now() < untilMs) {
      const row = rows[tried]!;
      tried += 1;
      await one(row);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  // Nothing was done: asked again with the same key, it may be.
  if (outage && outcome.resolved + outcome.stillWaiting === 0) throw outage;
  return { ...outcome, refused: [...refused.values()], tried };
};
