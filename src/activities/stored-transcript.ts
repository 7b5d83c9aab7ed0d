import type { ObjectStore } from '../adapters/objects/object-store.ts';
import { loadTranscript } from '../adapters/objects/transcripts.ts';
import type { Calls } from '../db/calls.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import { transcriptOf } from '../domain/given.ts';
import { transcriptKey, transcriptVersionKey } from '../domain/ids.ts';
import type { Transcript } from '../domain/transcript.ts';
import { signal } from './context.ts';

/** Reads a call's transcript back from the object store. @throws NOT_FOUND when the step before has not run */
export const readTranscript = async ({ calls, objects }: { calls: Calls; objects: ObjectStore }, call: CallVersion): Promise<Transcript> => {
  const { transcript: stored } = await calls.getVersion(call);
  const transcript = await loadTranscript(objects, stored, { signal: signal() });
  if (!transcript) throw new AftercallError('NOT_FOUND', `Call ${call.callId} has no stored transcript.`, { advice: 'Retry from the transcription step.' });
  return transcript;
};

/** Puts a transcript in its place, and notes it with the call's version. */
export const keepTranscript = async ({ calls, objects }: { calls: Calls; objects: ObjectStore }, call: CallVersion, transcript: Transcript): Promise<void> => {
  // Kept beside the newest, which a later version replaces.
  for (const key of [transcriptVersionKey(call), transcriptKey(call)]) await objects.put(key, `${JSON.stringify(transcript)}\n`, { contentType: 'application/json', signal: signal() });
  await calls.keepResult(call, 'transcription', {
    key: transcriptKey(call),
    versionKey: transcriptVersionKey(call),
    turns: transcript.turns.length,
    durationMs: transcript.durationMs,
    provider: transcript.provider,
    model: transcript.model,
    ...(transcript.language ? { language: transcript.language } : {}),
  });
};

/**
 * What was said, where it came in writing with the call: nobody is paid to listen.
 *
 * @returns undefined for calls that did not bring a transcript
 */
export const takeGivenTranscript = async ({ given, ...stores }: { calls: Calls; objects: ObjectStore; given: Pick<GivenCalls, 'find'> }, call: CallVersion): Promise<Transcript | undefined> => {
  const came = (await given.find(call))?.transcript;
  if (!came) return undefined;
  const transcript = transcriptOf(call.callId, came);
  await keepTranscript(stores, call, transcript);
  return transcript;
};
