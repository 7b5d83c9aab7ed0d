import type { AgreementRecords } from '../db/agreement.ts';
import type { Calls } from '../db/calls.ts';
import type { ReviewPublications } from '../db/review-publications.ts';
import type { PublicationActivities } from '../domain/activities.ts';
import { signal } from './context.ts';
import type { Publishing } from './publish.ts';
import type { StoreScore } from './stored-score.ts';

interface Dependencies {
  calls: Calls;
  agreement: AgreementRecords;
  reviewPublications: ReviewPublications;
  storeScore: StoreScore;
  publishing: Pick<Publishing, 'publishAgain'>;
}

export const createReviewPublishing = ({ calls, agreement, reviewPublications, storeScore, publishing }: Dependencies): PublicationActivities => ({
  /** Publishes the newest version of a call. One that runs is published when it is delivered. */
  async publishCall({ call }) {
    const wanted = await reviewPublications.begin(call);
    const { state, version } = await calls.get(call);
    if (state === 'completed') {
      const newest = { ...call, version };
      const { analysis, reviews } = await calls.getVersion(newest);
      if (analysis) await agreement.settle(call.project, analysis.versions.rubric);
      const effective = await storeScore(newest);
      await publishing.publishAgain({ call: newest, analysis: effective, correction: `${version}.${reviews.at(-1)?.revision ?? 0}`, signal: signal() });
      // A version that was opened meanwhile may have been stored over by this one.
      if ((await calls.get(call)).version !== version) return { more: true };
    }
    return reviewPublications.published(call, wanted);
  },

  async recordUnpublished({ call, message, advice }) {
    await reviewPublications.failed(call, { message, advice });
  },
});
