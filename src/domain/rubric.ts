/** What a call is graded by. Weights are relative; they need not add up to anything. */
export interface Rubric {
  id: string;
  version: string;
  criteria: Criterion[];
}

export interface Criterion {
  id: string;
  category: string;
  /** Asked so that "yes" is good. */
  question: string;
  weight: number;
  /** When the question does not arise; then the model may answer `not_applicable`. */
  notApplicableWhen?: string;
  /** Whose words may serve as evidence. */
  evidenceFrom: 'agent' | 'customer' | 'either';
}

/** The rubric of the default project. Categories follow the brief's. */
export const DEFAULT_RUBRIC: Rubric = {
  id: 'service-call',
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
      weight: 25,
      evidenceFrom: 'agent',
    },
    {
      id: 'presentation',
      category: 'presentation',
      question: 'Does the agent explain an offer, an answer or the next step that fits the need?',
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
      question: 'Does the agent end with a clear agreement, next step or thanks?',
      weight: 15,
      evidenceFrom: 'agent',
    },
    {
      id: 'tone',
      category: 'tone',
      question: 'Is the agent polite and respectful throughout?',
      weight: 15,
      evidenceFrom: 'agent',
    },
  ],
};
