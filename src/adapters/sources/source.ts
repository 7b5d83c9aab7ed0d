import type { CallDetails } from '../../domain/call.ts';
import type { StoredRecording } from '../../db/schema.ts';
import type { GivenAudio, GivenTranscript } from '../../domain/given.ts';
import type { Charge } from '../../domain/cost.ts';
import type { CallCursor } from '../../domain/window.ts';

export type { CallCursor } from '../../domain/window.ts';

/** A system that calls come from. */
export interface CallSource {
  readonly name: string;

  /** What its windows go by, where that is not the start of calls: when they were last changed. */
  readonly listsBy?: 'change';

  /**
   * One page of the window's telephony calls, oldest first, open ones included.
   *
   * @throws SOURCE_PAGE_STUCK when the source repeats a page so that reading on would never end
   */
  listCalls(request: ListCalls): Promise<CallPage>;

  /** A call as the source knows it now, or undefined if it has none. Absent where the source has no such look-up. */
  findCall?(callId: string, signal: AbortSignal): Promise<CallDetails | undefined>;

  /** What came with a call that was handed in. Absent where calls are read. */
  findGiven?(callId: string): Promise<{ hasTranscript: boolean; hasRecording: boolean; audio?: GivenAudio } | undefined>;

  /** What the source has of a call besides its recording. Absent where it has nothing else. */
  findRecord?(callId: string, signal: AbortSignal): Promise<SourceRecord | undefined>;

  /** Told when a recording has been copied to its place; may be told again. */
  recordingStored?(callId: string, stored: StoredRecording): Promise<void>;

  /** The call's recording, or undefined while the source has none to give. */
  findRecording(callId: string, signal: AbortSignal): Promise<RecordingLink | undefined>;

  /**
   * Opens the recording's bytes from `offset` on.
   *
   * @returns what the source answered; `offset` is 0 when it does not serve ranges
   * @throws RECORDING_LINK_EXPIRED when the link has to be asked for again
   */
  openRecording(link: RecordingLink, options: { offset: number; signal: AbortSignal }): Promise<RecordingStream>;
}

export interface ListCalls {
  /** Inclusive, epoch ms. */
  fromMs: number;
  /** Exclusive, epoch ms. */
  toMs: number;
  cursor?: CallCursor;
  signal: AbortSignal;
}

export interface CallPage {
  calls: CallDetails[];
  /** IDs that could not stand in keys and workflow IDs: those calls are left out, and said to be. */
  leftOut?: string[];
  /** IDs of those of `calls` that a voice provider holds and that we did not place: the project says whether they are taken in. */
  unplaced?: string[];
  /** Absent on the last page. */
  next?: CallCursor;
}

/** What a source that holds the call itself wrote down of it. */
export interface SourceRecord {
  transcript?: GivenTranscript;
  charge?: Charge;
}

export interface RecordingLink {
  recordingId: string;
  fileName: string;
  /** Signed and short-lived: never logged, never stored. */
  url: string;
  startedAtMs?: number;
  stoppedAtMs?: number;
  /** Who is on each channel of a two-channel recording, in channel order. */
  channels?: ('agent' | 'customer')[];
}

export interface RecordingStream {
  body: AsyncIterable<Uint8Array>;
  /** Where in the file `body` starts. */
  offset: number;
  /** Size of the whole file, where the source says it. */
  totalBytes?: number;
  contentType?: string;
}

