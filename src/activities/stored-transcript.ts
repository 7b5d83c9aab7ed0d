import { z } from 'zod';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import { transcriptOf } from '../domain/given.ts';
import { transcriptKey } from '../domain/ids.ts';
import type { Transcript } from '../domain/transcript.ts';
import { signal } from './context.ts';

const TurnSchema = z.object({ speaker: z.string(), channel: z.number().optional(), startMs: z.number(), endMs: z.number(), text: z.string(), confidence: z.number().optional() });
const TranscriptSchema = z.object({
  callId: z.string(),
  language: z.string().optional(),
  durationMs: z.number(),
  provider: z.string(),
  model: z.string(),
  speakersBy: z.enum(['channel', 'provider', 'diarization', 'none']),
  diarization: z.object({ provider: z.string(), model: z.string(), billedSeconds: z.number() }).optional(),
  speakers: z.array(z.string()),
  turns: z.array(TurnSchema),
  usage: z.object({ requests: z.number(), billedSeconds: z.number().optional(), inputTokens: z.number().optional(), outputTokens: z.number().optional() }),
});

/** Reads a call's transcript back from the object store. @throws NOT_FOUND when the step before has not run */
export const readTranscript = async ({ calls, objects }: { calls: Calls; objects: ObjectStore }, call: CallVersion): Promise<Transcript> => {
  const { transcript } = await calls.getVersion(call);
  const text = transcript && (await objects.getText(transcript.key, { signal: signal() }));
  if (!text) throw new AftercallError('NOT_FOUND', `Call ${call.callId} has no stored transcript.`, { advice: 'Retry from the transcription step.' });
  return TranscriptSchema.parse(JSON.parse(text)) as Transcript;
};

/** Puts a transcript in its place, and notes it with the call's version. */
export const keepTranscript = async ({ calls, objects }: { calls: Calls; objects: ObjectStore }, call: CallVersion, transcript: Transcript): Promise<void> => {
  await objects.put(transcriptKey(call), `${JSON.stringify(transcript)}\n`, { contentType: 'application/json', signal: signal() });
  await calls.keepResult(call, 'transcription', {
    key: transcriptKey(call),
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
