import { createHash } from 'node:crypto';
import { createTokenBucket } from './sources/token-bucket.ts';

export type TokenBucket = ReturnType<typeof createTokenBucket>;

/** The budgets of requests in this process: a vendor counts them per client, however many projects use it. */
export interface Buckets {
  /** @param client what the vendor knows the client by: its secret too, so that nobody spends another's budget by its name */
  of(client: readonly string[], perMinute: number, options?: { burst?: number }): TokenBucket;
}

export const createBuckets = (): Buckets => {
  const buckets = new Map<string, { perMinute: number; bucket: TokenBucket }>();
  return {
    of(client, perMinute, options) {
      const key = createHash('sha256').update(JSON.stringify(client)).digest('hex');
      const found = buckets.get(key);
      if (found?.perMinute === perMinute) return found.bucket;
      const bucket = createTokenBucket(perMinute, options);
      buckets.set(key, { perMinute, bucket });
      return bucket;
    },
  };
};
