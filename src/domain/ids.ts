import type { CallKey } from './call.ts';

/**
 * Workflow IDs and object keys. Everything here is plain text to Temporal and to the object store's
 * logs, so nothing here may hold personal data.
 */

const SAFE_ID = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$/;

/** Whether a source's call ID can stand in object keys and workflow IDs as it is. */
export const isSafeCallId = (callId: string): boolean => SAFE_ID.test(callId) && !callId.includes('..');

export const callWorkflowId = ({ project, callId }: CallKey): string => `call/${project}/${callId}`;
export const scheduleId = (project: string, source: string): string => `ingest/${project}/${source}`;

/** Temporal appends the scheduled time to it for each run. */
export const ingestWorkflowId = (project: string, source: string): string => `ingest/${project}/${source}`;

/** A run's ID in the database and in the names of its report and log: the workflow's ID without slashes. */
export const runIdOf = (workflowId: string): string => workflowId.replace(/^ingest\//, '').replace('/', '.').replace('/', '.');
/** The way back. Project and source hold no dots. */
export const workflowIdOfRun = (runId: string): string => `ingest/${runId.replace('.', '/').replace('.', '/')}`;

export type RecordingFormat = 'wav' | 'mp3';

export const recordingKey = (callId: string, format: RecordingFormat): string =>
  `call-detail/${callId}/recording.${format}`;
export const transcriptKey = (callId: string): string => `call-detail/${callId}/transcript.json`;
export const analysisKey = (callId: string): string => `call-detail/${callId}/analysis.json`;
export const crmMarkerKey = (callId: string): string => `SFDC/${callId}.txt`;
export const reportKey = (runId: string): string => `reports/${fileSafe(runId)}.json`;
export const logKey = (runId: string): string => `logs/${fileSafe(runId)}.ndjson`;

/** The partition of the call table a call belongs to, by the UTC month in which it started. */
export interface Partition {
  year: string;
  month: string;
}

export const partitionOf = (startedAtMs: number): Partition => {
  const [year, month] = new Date(startedAtMs).toISOString().split('-') as [string, string];
  return { year, month };
};

export const CALL_TABLE_PREFIX = 'call-data/';
export const partitionPrefix = ({ year, month }: Partition): string =>
  `${CALL_TABLE_PREFIX}year=${year}/month=${month}/`;
export const metadataKey = (callId: string, startedAtMs: number): string =>
  `${partitionPrefix(partitionOf(startedAtMs))}${callId}.json`;

/** Run IDs carry the scheduled time with its colons; object keys and file names do without. */
const fileSafe = (id: string): string => id.replaceAll(/[^A-Za-z0-9._-]+/g, '-');
