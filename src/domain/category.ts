import type { CallDetails } from './call.ts';
import { matchesPattern } from './pattern.ts';

/** A call is of the category if it meets every condition that the rule names. */
export interface CategoryRule {
  /** E.g. `sales`, `support`, `complaints`. */
  category: string;
  /** Names, or patterns in which `*` stands for anything; one has to match. Case does not matter. */
  queues?: string[] | undefined;
  agents?: string[] | undefined;
  sources?: string[] | undefined;
  direction?: CallDetails['direction'] | undefined;
}

type Sorted = Pick<CallDetails, 'queueName' | 'agentName' | 'source' | 'direction'>;

/** The category that the first fitting rule names, or undefined where none fits. */
export const categoryOf = (rules: readonly CategoryRule[], call: Sorted): string | undefined => rules.find((rule) => fits(rule, call))?.category;

const fits = ({ queues, agents, sources, direction }: CategoryRule, call: Sorted): boolean =>
  matchesAny(queues, call.queueName) && matchesAny(agents, call.agentName) && matchesAny(sources, call.source) && (direction === undefined || direction === call.direction);

/** No patterns are no condition. */
const matchesAny = (patterns: string[] | undefined, name: string | undefined): boolean => patterns === undefined || (name !== undefined && patterns.some((pattern) => matchesPattern(pattern, name)));
