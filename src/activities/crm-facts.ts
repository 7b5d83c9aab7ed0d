import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { CallVersion } from '../domain/call.ts';
import type { CheckedFact } from '../domain/facts.ts';
import type { AskModelFunction } from './ask-model.ts';
import { extractFactsFrom } from './grade-call.ts';
import type { ProvidersOf } from './providers.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  objects: ObjectStore;
  providers: ProvidersOf;
  askModel: AskModelFunction;
}

export type ExtractFacts = (call: CallVersion) => Promise<CheckedFact[]>;

/** Extracts what the CRM needs from a call, by the preset that it goes by. */
export const createFactExtraction = ({ calls, objects, providers, askModel }: Dependencies): ExtractFacts => async (call) => {
  const by = await providers.for(call);
  const { facts } = await extractFactsFrom(askModel, { call, step: 'crm', providers: by, transcript: await readTranscript({ calls, objects }, call) });
  return facts;
};
