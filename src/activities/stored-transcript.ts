import { z } from 'zod';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
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
