import type { CallDetails } from './call.ts';
import { toTurns, type Transcript, type Turn } from './transcript.ts';

/** Calls that are handed in, by a signed webhook or an upload, instead of being read from a source. */

/** Names under which such calls stand as a source. */
export const GIVEN_SOURCES = ['hook', 'upload'] as const;
export type GivenSource = (typeof GIVEN_SOURCES)[number];
export const isGivenSource = (source: string): source is GivenSource => (GIVEN_SOURCES as readonly string[]).includes(source);

/** A recording that came with its call and lies in the object store. */
export interface GivenAudio {
  key: string;
  bytes: number;
  sha256: string;
  format: 'wav' | 'mp3';
}

/** What was said, as somebody else has written it down. Times are ms from the call's start. */
export interface GivenTranscript {
  /** The source that has written it down of its own calls. Absent: it was handed in. */
  by?: string;
  language?: string;
  turns: Pick<Turn, 'speaker' | 'startMs' | 'endMs' | 'text'>[];
}

/** A call as it is handed in. */
export interface GivenCall {
  details: CallDetails;
  recordingUrl?: string;
  audio?: GivenAudio;
  transcript?: GivenTranscript;
}

/** The provider of transcripts that nobody was paid for. */
export const GIVEN_PROVIDER = 'upload';

/** Transcripts that stand for themselves: whoever wrote them down told who speaks, and no recording has to be heard. */
const WRITTEN_BY: readonly string[] = [GIVEN_PROVIDER, 'retell'];
export const cameInWriting = (provider: string | undefined): boolean => provider !== undefined && WRITTEN_BY.includes(provider);

/** A given transcript in the form in which all are stored. */
export const transcriptOf = (callId: string, { by, language, turns: given }: GivenTranscript): Transcript => {
  const turns = toTurns(given);
  return {
    callId,
    durationMs: Math.max(0, ...turns.map(({ endMs }) => endMs)),
    provider: by ?? GIVEN_PROVIDER,
    model: 'as given',
    speakersBy: 'provider',
    speakers: [...new Set(turns.map(({ speaker }) => speaker))],
    turns,
    usage: { requests: 0 },
    ...(language ? { language } : {}),
  };
};
