import type { Pace } from './messages.ts';
import type { WarehouseSink } from './warehouse.ts';

export const ERASURE_KINDS = ['call', 'phone', 'retention'] as const;
export type ErasureKind = (typeof ERASURE_KINDS)[number];

/** How many things were erased, or had to stay, by the place that they were in. */
export type Places = Record<string, number>;

/** What shows that something was erased, without saying what or whose it was. */
export interface Certificate {
  erasureId: string;
  project: string;
  kind: ErasureKind;
  /** A keyed hash of the call's ID or the number, and the key: whoever knows both can tell that it is theirs. */
  subject: { key: string; hmacSha256: string };
  by: string;
  requestedAt: string;
  endedAt: string | null;
  calls: number;
  erased: Places;
  /** What is out of reach: messages that were sent, records that belong to a CRM. */
  notErased: Places;
}

export interface EraseCallsInput {
  project: string;
  erasureId: string;
  pace: Pace;
  /** Where rows about the calls have been loaded to; absent in workflows from before there was a warehouse. */
  warehouse?: {
    sinks: WarehouseSink[];
    graceMs: number;
    /** Set by the workflow itself when it continues as new: its files are done with, and so many were removed. */
    swept?: number;
  };
}

/** A call whose steps were under way: what they still wrote is removed once they have stopped. */
export interface LateCall {
  callId: string;
  keys: string[];
}

export interface ErasureActivities {
  /** Erases some of what is left to be erased. @returns once none is left, how many are to be cleaned up after */
  eraseSome(input: { project: string; erasureId: string }): Promise<{ left: number; late: number }>;
  /** Cleans up after some of the calls whose steps were under way. @returns how many are left */
  eraseLate(input: { project: string; erasureId: string }): Promise<{ left: number }>;
  /**
   * @param input.erased what was erased beside the calls' own
   * @param input.sinks the parts of the warehouse that have taken the calls back; absent: none was asked to
   */
  certifyErasure(input: { project: string; erasureId: string; erased?: Places; sinks?: WarehouseSink[] }): Promise<void>;
  /** Removes a page of what a project keeps no longer. @returns whether there may be more */
  retainPage(input: { project: string }): Promise<boolean>;
}

/** What has to be typed to erase so many calls. */
export const confirmationOf = (calls: number): string => `erase ${calls} ${calls === 1 ? 'call' : 'calls'}`;

/** Digits only, as numbers are compared; `00` before a country is `+`. */
export const phoneDigits = (phone: string): string => phone.replaceAll(/[^0-9]/g, '').replace(/^00/, '');
