import type { Rubric } from '../rubric.ts';

/** Complaints: whether the customer was heard, and something comes of it. */
export const COMPLAINTS_RUBRIC: Rubric = {
  id: 'complaints',
  version: '1',
  criteria: [
    {
      id: 'greeting',
      category: 'greeting',
      question: 'Does the agent greet the customer and say their name or the company?',
      weight: 5,
      evidenceFrom: 'agent',
    },
    {
      id: 'needs',
      category: 'needs_discovery',
      question: 'Does the agent ask what happened?',
      weight: 15,
      evidenceFrom: 'agent',
    },
    {
      id: 'acknowledgement',
      category: 'empathy',
      question: 'Does the agent acknowledge the trouble or say sorry for it?',
      weight: 20,
      evidenceFrom: 'agent',
    },
    {
      id: 'objections',
      category: 'objection_handling',
      question: 'Does the agent answer the reproaches that the customer makes?',
      weight: 15,
      notApplicableWhen: 'the customer makes no reproach',
      evidenceFrom: 'agent',
    },
    {
      id: 'presentation',
      category: 'resolution',
      question: 'Does the agent offer a remedy, or say what will be looked into?',
      weight: 20,
      evidenceFrom: 'agent',
    },
    {
      id: 'next_step',
      category: 'resolution',
      question: 'Does the agent say what happens next and by when?',
      weight: 10,
      evidenceFrom: 'agent',
    },
    {
      id: 'closing',
      category: 'closing',
      question: 'Does the agent end with a summary, an agreement or thanks?',
      weight: 5,
      evidenceFrom: 'agent',
    },
    {
      id: 'tone',
      category: 'tone',
      question: 'Does the agent stay polite and calm throughout?',
      weight: 10,
      evidenceFrom: 'agent',
    },
  ],
};
