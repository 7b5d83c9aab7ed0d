import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { CallVersion } from '../domain/call.ts';
import { clean } from '../domain/clean.ts';
import { findQuote } from '../domain/evidence.ts';
import type { CheckedFact } from '../domain/facts.ts';
import { factsTask } from '../domain/prompts.ts';
import type { AskModelFunction } from './ask-model.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  objects: ObjectStore;
  askModel: AskModelFunction;
}

/** The standard text fields of the CRM hold 255 characters. */
const LONGEST_VALUE = 255;
const LONGEST_QUOTE = 1_000;
const MOST_FACTS = 40;

export type ExtractFacts = (call: CallVersion) => Promise<CheckedFact[]>;

/**
 * Extracts what the CRM needs from a call: the second request on the prompt prefix that the analysis
 * has paid for. Each fact's quote is looked up in the transcript, whoever said it.
 */
export const createFactExtraction = ({ calls, objects, askModel }: Dependencies): ExtractFacts => async (call) => {
  const transcript = await readTranscript({ calls, objects }, call);
  const { form } = await askModel({ call, step: 'crm', transcript, task: factsTask(), part: 'facts' });
  return form.slice(0, MOST_FACTS).map(({ name, value, quote }): CheckedFact => {
    const found = findQuote(transcript, quote, 'either');
    const fact = { name, value: clean(value, LONGEST_VALUE), quote: clean(quote, LONGEST_QUOTE) };
    return 'evidence' in found ? { ...fact, evidence: found.evidence } : { ...fact, fault: found.fault };
  });
};
