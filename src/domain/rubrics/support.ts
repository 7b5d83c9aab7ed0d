import type { Rubric } from '../rubric.ts';

/** Support calls: whether the trouble was understood, solved, and said to be. */
export const SUPPORT_RUBRIC: Rubric = {
  id: 'support',
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
      id: 'identification',
      category: 'needs_discovery',
      question: 'Does the agent make sure whom or which account or line the call is about?',
      weight: 10,
      notApplicableWhen: 'the question is general and concerns no account',
      evidenceFrom: 'agent',
    },
    {
      id: 'needs',
      category: 'needs_discovery',
      question: 'Does the agent ask questions to find out what is wrong?',
      weight: 20,
      evidenceFrom: 'agent',
    },
    {
      id: 'presentation',
      category: 'resolution',
      question: 'Does the agent explain what the cause is, or what is done about it?',
      weight: 25,
      evidenceFrom: 'agent',
    },
    {
      id: 'next_step',
      category: 'resolution',
      question: 'Does the agent say what happens next and by when?',
      weight: 15,
      notApplicableWhen: 'the trouble is solved within the call',
      evidenceFrom: 'agent',
    },
    {
      id: 'closing',
      category: 'closing',
      question: 'Does the agent make sure that nothing else is open, or end with thanks?',
      weight: 10,
      evidenceFrom: 'agent',
    },
    {
      id: 'tone',
      category: 'tone',
      question: 'Is the agent polite and respectful throughout?',
      weight: 10,
      evidenceFrom: 'agent',
    },
  ],
};
