import { LEFT_OUT } from './staging.ts';
import type { CallResult, CallState } from './call.ts';
import type { Pace } from './messages.ts';
import type { CallCursor } from './window.ts';

/**
 * Whether all calls of a day have been taken in and went their way: what a source lists, held against what we have.
 *
 * A *gap* is a call that one side has and the other has not, or that has not been processed; each has a reason.
 */
export const GAP_REASONS = [
  'in_progress',
  'no_recording_yet',
  'awaiting_approval',
  'parked',
  'failed',
  'cancelled',
  'rejected',
  'filtered',
  'given_up',
  'too_short',
  'abandoned',
  'no_recording',
  'open_at_source',
  'erased',
  'left_out_id',
  'not_taken_in',
  'only_compared',
  'before_first_window',
  'deleted_there',
  'moved_day',
  'past_source_retention',
  'unexplained',
] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/** What becomes of a call in the comparison. */
export type Verdict = 'processed' | GapReason;

interface ReasonSpec {
  /** Nothing more is expected to happen: the day is not checked again for it. */
  settled: boolean;
  meaning: string;
  /** What a person can do about it; empty where there is nothing to do. */
  advice: string;
}

export const REASONS: Record<GapReason, ReasonSpec> = {
  in_progress: { settled: false, meaning: 'Its steps are running, or about to.', advice: '' },
  no_recording_yet: { settled: false, meaning: 'Its source has not published the recording yet.', advice: 'It looks again by itself until RECORDING_DEADLINE.' },
  awaiting_approval: { settled: false, meaning: 'It waits for a person to let it in, or to approve what it means to do in the CRM.', advice: 'Approve or reject it.' },
  parked: { settled: false, meaning: 'A step has used up its tries.', advice: "Open the call: its attention says what to mend. Then retry, skip the step, or give it up." },
  failed: { settled: false, meaning: 'Its workflow ended by a defect, or was ended in Temporal.', advice: 'Reprocess it; a window that finds it does so, too.' },
  cancelled: { settled: false, meaning: 'Its workflow was cancelled in Temporal.', advice: 'Reprocess it, if it was not meant.' },
  rejected: { settled: true, meaning: 'A person turned it down, or nobody ruled on it in time.', advice: '' },
  filtered: { settled: true, meaning: 'A rule of the project leaves it out.', advice: 'If it should be in, change `stagingRules` and reprocess it.' },
  given_up: { settled: true, meaning: 'A person gave it up.', advice: '' },
  too_short: { settled: true, meaning: 'Too little was said to grade it.', advice: '' },
  abandoned: { settled: true, meaning: 'The customer hung up before anybody answered.', advice: '' },
  no_recording: { settled: true, meaning: 'Its source never published a recording.', advice: 'If there is one now, reprocess it.' },
  open_at_source: { settled: false, meaning: 'It has not ended yet, by its source.', advice: 'A window takes it in when it has ended.' },
  erased: { settled: true, meaning: 'It was erased here, and stays so.', advice: '' },
  left_out_id: { settled: true, meaning: 'Its ID cannot stand in the names of objects and workflows.', advice: 'Give it another ID at its source, or hand it in by webhook under another.' },
  not_taken_in: { settled: false, meaning: 'It was not taken in; the detail says why.', advice: 'Mend what the detail names, then reconcile the day again.' },
  only_compared: { settled: false, meaning: 'It is not here, and the day was only to be compared: it may not have been polled yet.', advice: 'Reconcile the day without `takeIn: false` to have it, or wait for the window that it falls into.' },
  before_first_window: { settled: true, meaning: 'It is from before this source was first read, and nobody has asked for it.', advice: 'To have it, read a window of that time: `npm run schedule -- backfill`.' },
  deleted_there: { settled: true, meaning: 'We have it; its source does not list it any more, though it lists others of that time.', advice: 'If it was deleted for its customer’s sake, erase it here, too.' },
  moved_day: { settled: true, meaning: 'Its source has it under another day now.', advice: '' },
  past_source_retention: { settled: true, meaning: 'We have it; its source keeps nothing of that time any more.', advice: '' },
  unexplained: { settled: false, meaning: 'Nothing here says why.', advice: 'Check that the right account is connected and that windows are read, then reconcile the day again. If it stays, it is a defect.' },
};

export const isGapReason = (name: string): name is GapReason => (GAP_REASONS as readonly string[]).includes(name);

/** A call as far as the comparison asks. */
export interface Standing {
  state: CallState;
  result: CallResult | null;
  reason: string | null;
}

/** What a call of ours amounts to. Total: a state or a result that is new has to be given its reason here. */
export const verdictOn = ({ state, result, reason }: Standing): Verdict => {
  switch (state) {
    case 'staged':
    case 'processing':
      return 'in_progress';
    case 'awaiting_approval':
      return 'awaiting_approval';
    case 'waiting_for_recording':
      return 'no_recording_yet';
    case 'needs_attention':
      return 'parked';
    case 'rejected':
      // One without a reason was left out by somebody who died before writing which rule it was.
      return reason === null || reason.startsWith(LEFT_OUT) ? 'filtered' : 'rejected';
    case 'given_up':
      return 'given_up';
    case 'cancelled':
      return 'cancelled';
    case 'failed':
      return 'failed';
    case 'completed':
      return verdictOnResult(result);
  }
};

const verdictOnResult = (result: CallResult | null): Verdict => {
  switch (result) {
    case 'processed':
    case 'abandoned':
    case 'no_recording':
    case 'too_short':
      return result;
    case null:
      return 'unexplained';
  }
};

/** How many calls there are of each. */
export type Tally<K extends string> = Partial<Record<K, number>>;

/** What the comparison of a day came to. `listed` = `processed` + the gaps of what the source lists. */
export interface DayCounts {
  /** Calls of the day that the source lists. */
  listed: number;
  /** Calls of the day that we have, listed or not. */
  ours: number;
  processed: number;
  states: Tally<CallState>;
  /** Of what the source lists. */
  gaps: Tally<GapReason>;
  /** Of what we have and the source does not list. */
  notListed: Tally<GapReason>;
  unexplained: number;
  /** Taken in by this comparison, which no window and no webhook had brought. */
  takenIn: number;
}

/** Whether a day has to be looked at again: something of it is not at its end. */
export const isSettled = ({ gaps, notListed }: Pick<DayCounts, 'gaps' | 'notListed'>): boolean => ![gaps, notListed].some((tally) => GAP_REASONS.some((reason) => !REASONS[reason].settled && (tally[reason] ?? 0) > 0));

export interface ReconcileDayInput {
  project: string;
  source: string;
  /** As in 2026-11-20; of the project's time zone. */
  day: string;
  pace: Pace;
  /** Who asked for it; absent when it was due. */
  by?: string;
  /** False: only compares, and takes nothing in. */
  takeIn?: boolean;
  /** Pages after which it continues as new. Default 500. */
  pagesPerRun?: number;
  /** Set by the workflow itself when it continues as new. */
  resume?: { opened: OpenedDay; cursor: CallCursor; page: number };
}

export interface CheckDaysInput {
  project: string;
  source: string;
  pace: Pace;
}

/** A day whose comparison has begun. Epoch ms; `fromMs` inclusive, `toMs` exclusive. */
export interface OpenedDay {
  /** Of this comparison: what an older one still writes is not taken for its. */
  token: string;
  fromMs: number;
  toMs: number;
  /** Until when the source's list is read, where it goes by when calls were last changed. */
  listToMs: number;
  /** Calls from before this are not taken in: nobody asked for them. */
  watchedFromMs: number;
}

export type DayKey = Pick<ReconcileDayInput, 'project' | 'source' | 'day'>;

export interface CompletenessActivities {
  /** Days that have to be compared now, the oldest first. */
  dueDays(input: { project: string; source: string; atMs: number }): Promise<string[]>;
  openDay(input: DayKey & { token: string; by?: string }): Promise<OpenedDay>;
  /** Reads a page of what the source lists, and takes in what is missing. */
  readDayPage(input: DayKey & { opened: OpenedDay; cursor?: CallCursor; pace: Pace; takeIn: boolean }): Promise<{ next?: CallCursor }>;
  /** Looks for some calls of ours that the source did not list. @returns whether there are more */
  lookForUnlisted(input: DayKey & { opened: OpenedDay }): Promise<{ more: boolean }>;
  concludeDay(input: DayKey & { opened: OpenedDay }): Promise<DayCounts>;
  failDay(input: DayKey & { token: string; error: string }): Promise<void>;
}

/** A call as the comparison has found it: what its source lists, and how it stands here. */
export interface Compared {
  /** `waiting`: handed in, and not taken in yet. `left_out`: its ID is none that we can use. `too_old`: from before the source was watched. `unplaced`: somebody else placed it, and the project takes none of those. `only_compared`: it could have been taken in, and was not to be. */
  status: 'completed' | 'abandoned' | 'open' | 'waiting' | 'left_out' | 'too_old' | 'unplaced' | 'only_compared' | 'erased';
  /** Why it could not be taken in. */
  problem: string | null;
  ours: (Standing & { step: string | null; attention: { code: string; message: string } | null }) | null;
}

const LONGEST_DETAIL = 300;

/** Why a call is where it is, and what there is to say of it. */
export const judge = ({ status, problem, ours }: Compared): { verdict: Verdict; detail: string | null } => {
  if (status === 'erased') return { verdict: 'erased', detail: null };
  if (ours) {
    const { step, attention, reason } = ours;
    const detail = attention ? `${step ?? ''}: ${attention.code}: ${attention.message}` : reason;
    return { verdict: verdictOn(ours), detail: detail?.slice(0, LONGEST_DETAIL) ?? null };
  }
  switch (status) {
    case 'left_out':
      return { verdict: 'left_out_id', detail: null };
    case 'too_old':
      return { verdict: 'before_first_window', detail: null };
    case 'unplaced':
      return { verdict: 'filtered', detail: 'The project takes in no calls that it did not place (`takeUnplacedCalls`).' };
    case 'only_compared':
      return { verdict: 'only_compared', detail: null };
    case 'open':
      return { verdict: 'open_at_source', detail: null };
    case 'waiting':
    case 'completed':
    case 'abandoned':
      return { verdict: status === 'waiting' || problem !== null ? 'not_taken_in' : 'unexplained', detail: problem?.slice(0, LONGEST_DETAIL) ?? null };
  }
};
