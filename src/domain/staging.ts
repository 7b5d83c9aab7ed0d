import type { CallDetails, Direction } from './call.ts';
import { matchesPattern } from './pattern.ts';

/** What becomes of a call that has just come in: it is processed, waits for a person, or is left out for good. */
export const STAGING_ACTS = ['process', 'stage', 'ignore'] as const;
export type StagingAct = (typeof STAGING_ACTS)[number];

/**
 * A project's rule about calls that come in. All conditions that it names have to hold; the first rule
 * that fits decides.
 */
export interface StagingRule {
  /** As people know it; an ignored call keeps it as its reason. */
  name: string;
  act: StagingAct;
  direction?: Direction | undefined;
  /** Names of queues; `*` stands for any number of characters, and upper and lower case are one. */
  queues?: string[] | undefined;
  categories?: string[] | undefined;
  sources?: string[] | undefined;
  /** Only fit calls whose duration the source tells. Both ends included. */
  minDurationSeconds?: number | undefined;
  maxDurationSeconds?: number | undefined;
  /** The rule takes this share of the calls that fit it, 0 to 100; a call is always on the same side. */
  samplePercent?: number | undefined;
}

/** What the reason of a call begins with that no rule lets in. */
export const LEFT_OUT = 'Left out by';

export interface StagingVerdict {
  act: StagingAct;
  /** Undefined when no rule fitted. */
  rule?: string;
}

/** Decides about a call by a project's rules. Where none fits, `autoProcess` does. */
export const stagingOf = (
  { project, call, category }: { project: string; call: CallDetails; category?: string | undefined },
  { stagingRules, autoProcess }: { stagingRules: readonly StagingRule[]; autoProcess: boolean },
): StagingVerdict => {
  const rule = stagingRules.find((candidate) => fits(candidate, call, category) && isSampled(project, call.callId, candidate.samplePercent ?? 100));
  return rule ? { act: rule.act, rule: rule.name } : { act: autoProcess ? 'process' : 'stage' };
};

const fits = (rule: StagingRule, call: CallDetails, category: string | undefined): boolean =>
  (rule.direction === undefined || rule.direction === call.direction) &&
  (rule.queues === undefined || rule.queues.some((pattern) => matchesPattern(pattern, call.queueName ?? ''))) &&
  (rule.categories === undefined || (category !== undefined && rule.categories.includes(category))) &&
  (rule.sources === undefined || rule.sources.includes(call.source)) &&
  fitsDuration(rule, call.durationMs);

const fitsDuration = ({ minDurationSeconds: min, maxDurationSeconds: max }: StagingRule, durationMs: number | undefined): boolean => {
  if (min === undefined && max === undefined) return true;
  if (durationMs === undefined) return false;
  return durationMs >= (min ?? 0) * 1_000 && durationMs <= (max ?? Infinity) * 1_000;
};

/** By the call and nothing else, so that it is the same at every poll and in every process. */
export const isSampled = (project: string, callId: string, percent: number): boolean => percent >= 100 || hash32(`${project}/${callId}`) / 2 ** 32 < percent / 100;

/** FNV-1a, and MurmurHash3's last step, which spreads what neighbouring IDs leave close together. */
const hash32 = (text: string): number => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
};
