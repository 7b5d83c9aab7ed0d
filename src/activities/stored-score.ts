import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { AgreementRecords } from '../db/agreement.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { Quality } from '../db/quality.ts';
import type { Reviews } from '../db/reviews.ts';
import type { CallVersion } from '../domain/call.ts';
import { categoryOf } from '../domain/category.ts';
import { analysisKey } from '../domain/ids.ts';
import type { EffectiveAnalysis } from '../domain/review.ts';
import { signal } from './context.ts';
import { writeCallRecord } from './metadata.ts';

interface Dependencies {
  calls: Calls;
  reviews: Reviews;
  agreement: AgreementRecords;
  projects: Projects;
  quality: Quality;
  objects: ObjectStore;
}

export type StoreScore = ReturnType<typeof createStoreScore>;

/**
 * Brings everything that is stored of a version's score up to its effective analysis: the analysis object,
 * what calls are compared by, and the call's row.
 *
 * Says first which questions count for nothing from now on, so that what is stored, shown and pushed agree.
 * Everything is an upsert by key, so that it may be repeated as often as the score changes.
 */
export const createStoreScore = ({ calls, reviews, agreement, projects, quality, objects }: Dependencies) => async (call: CallVersion): Promise<EffectiveAnalysis | null> => {
  const { analysis } = await calls.getVersion(call);
  const { agreementFloor, categories } = await projects.settings(call.project);
  if (analysis) {
    await reviews.setAside(call, await agreement.advisory(call.project, analysis.versions.rubric, agreementFloor));
  }
  const { effective, metadata } = await calls.getVersion(call);
  if (effective) {
    await objects.put(analysisKey(call), `${JSON.stringify(effective)}\n`, { contentType: 'application/json', signal: signal() });
    const { details } = await calls.get(call);
    await quality.keep(call, { details, category: categoryOf(categories, details), analysis: effective });
  }
  if (metadata) await writeCallRecord({ calls, objects }, call, signal());
  return effective;
};
