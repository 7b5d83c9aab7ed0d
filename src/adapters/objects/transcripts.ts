import { z } from 'zod';
import { withSpeakers } from '../../domain/review.ts';
import type { Transcript } from '../../domain/transcript.ts';
import type { ObjectStore } from './object-store.ts';

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

/**
 * Reads a stored transcript with the speakers that were settled before its version began.
 *
 * @returns undefined when there is none
 */
export const loadTranscript = async (objects: Pick<ObjectStore, 'getText'>, stored: { key: string; versionKey?: string; speakers?: Record<string, string> } | null, options: { signal?: AbortSignal } = {}): Promise<Transcript | undefined> => {
  // A version's own: what lies at the other key is the newest's.
  const text = stored && ((stored.versionKey && (await objects.getText(stored.versionKey, options))) || (await objects.getText(stored.key, options)));
  if (!text) return undefined;
  const transcript = TranscriptSchema.parse(JSON.parse(text)) as Transcript;
  return stored.speakers ? withSpeakers(transcript, stored.speakers) : transcript;
};
