import type { Rubric } from '../rubric.ts';

/** Sales calls: the six steps of a conversation that should end in a deal. */
export const SALES_RUBRIC: Rubric = {
  id: 'sales',
  version: '1',
  criteria: [
    {
      id: 'greeting',
      category: 'greeting',
      question: 'Does the agent greet the customer and say their name or the company?',
      weight: 10,
      evidenceFrom: 'agent',
    },
    {
      id: 'needs',
      category: 'needs_discovery',
      question: 'Does the agent ask questions to find out what the customer needs?',
      weight: 20,
      evidenceFrom: 'agent',
    },
    {
      id: 'qualification',
      category: 'needs_discovery',
      question: 'Does the agent ask about budget, time or who decides?',
      weight: 15,
      evidenceFrom: 'agent',
    },
    {
      id: 'presentation',
      category: 'presentation',
      question: 'Does the agent present an offer that fits the need that was named?',
      weight: 20,
      evidenceFrom: 'agent',
    },
    {
      id: 'objections',
      category: 'objection_handling',
      question: 'Does the agent answer the objections or worries that the customer voices?',
      weight: 15,
      notApplicableWhen: 'the customer voices no objection and no worry',
      evidenceFrom: 'agent',
    },
    {
      id: 'closing',
      category: 'closing',
      question: 'Does the agent end with a clear agreement or next step?',
      weight: 15,
      evidenceFrom: 'agent',
    },
    {
      id: 'tone',
      category: 'tone',
      question: 'Is the agent polite and respectful throughout?',
      weight: 5,
      evidenceFrom: 'agent',
    },
  ],
};
