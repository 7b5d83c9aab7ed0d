import type { Pace } from './messages.ts';

/** A span of time whose calls are read. Epoch ms; `fromMs` inclusive, `toMs` exclusive. */
export interface Window {
  fromMs: number;
  toMs: number;
}

/** Where the next page of a window starts. Small and plain: it travels through Temporal's history. */
export interface CallCursor {
  fromMs: number;
  /** Calls already read that the next page would show again. */
  seen: string[];
  /** Which of the source's lists it is in, where it has several. */
  list?: string;
}

/** Computed from the scheduled time, never from the clock: catch-up and backfill read what they stand for. */
export const windowAt = (scheduledAtMs: number, minutesBack: number): Window => ({
  fromMs: scheduledAtMs - minutesBack * 60_000,
  toMs: scheduledAtMs,
});

export interface IngestPageInput {
  runId: string;
  project: string;
  source: string;
  window: Window;
  cursor?: CallCursor;
  /** Counts from 0. */
  page: number;
  pace: Pace;
}

export interface IngestPageResult {
  found: number;
  started: number;
  next?: CallCursor;
}

export interface SettleInput {
  runId: string;
  project: string;
  /** Epoch ms; at this time the run stops waiting. */
  deadlineMs: number;
}

export interface ReportInput {
  runId: string;
  project: string;
}
