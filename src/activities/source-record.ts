import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { CallSource, SourceRecord } from '../adapters/sources/source.ts';
import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { CallVersion } from '../domain/call.ts';
import type { GivenTranscript } from '../domain/given.ts';
import { signal } from './context.ts';
import type { ProvidersOf } from './providers.ts';

interface Dependencies {
  adaptersOf: AdaptersOf;
  calls: Pick<Calls, 'get'>;
  costs: Pick<Costs, 'charge'>;
  given: Pick<GivenCalls, 'find' | 'keep'>;
  providers: Pick<ProvidersOf, 'for'>;
}

/**
 * What a source that holds the calls itself has of one besides its recording: what was said, and what it cost.
 *
 * Copied with the recording, as early as there is something to copy: nobody knows for how long the source keeps it.
 */
export const createSourceRecords = ({ adaptersOf, calls, costs, given, providers }: Dependencies) => {
  const read = async (call: CallVersion): Promise<{ source: CallSource; record: SourceRecord } | undefined> => {
    const { details } = await calls.get(call);
    const source = (await adaptersOf(call.project)).sources.find(details.source);
    const record = await source?.findRecord?.(call.callId, signal());
    return source && record && { source, record };
  };
  const charge = async (call: CallVersion, { source, record }: { source: CallSource; record: SourceRecord }): Promise<void> => {
    if (record.charge && record.charge.microUsd > 0) await costs.charge(call, { ...record.charge, provider: source.name });
  };

  const accepts = async (call: CallVersion, words: GivenTranscript | undefined): Promise<boolean> =>
    words !== undefined && (words.by === undefined || (await providers.for(call)).acceptsProviderTranscript);

  /** @returns whether there are words that the call's preset takes as its transcript */
  const copy = async (call: CallVersion): Promise<boolean> => {
    const found = await read(call);
    if (found) await charge(call, found);
    const known = (await given.find(call))?.transcript;
    const transcript = found?.record.transcript;
    // What was handed in with the call, or copied before, stays.
    if (transcript && !known) await given.keep(call, { transcript });
    return accepts(call, known ?? transcript);
  };

  return {
    copy,

    /** The same, without asking the source again for words that were copied. */
    async hasWords(call: CallVersion): Promise<boolean> {
      const known = (await given.find(call))?.transcript;
      return known ? accepts(call, known) : copy(call);
    },

    /** Brings what the call cost up to date: the source may have gone on analysing it, for money, when it was copied. */
    async chargeAgain(call: CallVersion): Promise<void> {
      const found = await read(call);
      if (found) await charge(call, found);
    },
  };
};

export type SourceRecords = ReturnType<typeof createSourceRecords>;
