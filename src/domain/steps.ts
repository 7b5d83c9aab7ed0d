/**
 * The path of a call: the steps, and the groups in which they run.
 *
 * A group's steps run side by side; a group starts when the one before it has nothing left to do.
 */
export const STEPS = ['recording', 'transcription', 'metadata', 'analysis', 'crm', 'deliver'] as const;

export type Step = (typeof STEPS)[number];

export const GROUPS: readonly (readonly Step[])[] = [
  ['recording'],
  ['transcription'],
  ['metadata', 'analysis'],
  ['crm'],
  ['deliver'],
];

export const isStep = (name: string): name is Step => (STEPS as readonly string[]).includes(name);

/** The index in `GROUPS` of the group a step runs in. */
export const groupOf = (step: Step): number => GROUPS.findIndex((group) => group.includes(step));

/** Every step of the group that `step` runs in and of all later groups: what a retry from `step` drops. */
export const stepsFrom = (step: Step): Step[] => GROUPS.slice(groupOf(step)).flat();
