import { matchesPattern } from './pattern.ts';

/** An agent is of the team if one of the patterns fits their name. */
export interface TeamRule {
  /** As it stands in reports. */
  team: string;
  /** Names, or patterns in which `*` stands for anything. Case does not matter. */
  agents: string[];
}

/** The team that the first fitting rule names, or undefined where none fits or no agent is known. */
export const teamOf = (rules: readonly TeamRule[], agent: string | undefined): string | undefined =>
  agent === undefined ? undefined : rules.find(({ agents }) => agents.some((pattern) => matchesPattern(pattern, agent)))?.team;
