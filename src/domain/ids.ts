import type { CallKey, CallVersion } from './call.ts';
import type { WarehouseSink } from './warehouse.ts';

/**
 * Workflow IDs and object keys. Everything here is plain text to Temporal and to the object store's
 * logs, so nothing here may hold personal data.
 */

const SAFE_ID = /^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$/;

/** Whether a source's call ID can stand in object keys and workflow IDs as it is. */
export const isSafeCallId = (callId: string): boolean => SAFE_ID.test(callId) && !callId.includes('..');

export const callWorkflowId = ({ project, callId }: CallKey): string => `call/${project}/${callId}`;
/** A message is carried once per round: when it is sent again, or corrected, that is another. */
export const messageWorkflowId = ({ project, messageId, round }: { project: string; messageId: string; round: number }): string => `message/${project}/${messageId}/${round}`;
/** One for each time that a voice call is dialled, and never two at once. */
export const voiceCallWorkflowId = ({ project, voiceCallId }: { project: string; voiceCallId: string }): string => `voice/${project}/${voiceCallId}`;
export const voiceLinesWorkflowId = (project: string): string => `voice-lines/${project}`;
export const publicationWorkflowId = ({ project, callId }: CallKey): string => `publish/${project}/${callId}`;
export const erasureWorkflowId = (project: string, erasureId: string): string => `erase/${project}/${erasureId}`;
export const retentionWorkflowId = (project: string): string => `retention/${project}`;
/** Days of a source that are compared; the check of those that are due has the name without a day, to which Temporal appends its time. */
export const reconciliationWorkflowId = ({ project, source, day }: { project: string; source: string; day: string }): string => `completeness/${project}/${source}/${day}`;
export const completenessScheduleId = (project: string, source: string): string => `completeness/${project}/${source}`;
export const scheduleId = (project: string, source: string): string => `ingest/${project}/${source}`;

/** @param bulkId a hash, made of nothing that is personal */
export const bulkWorkflowId = (project: string, bulkId: string): string => `bulk/${project}/${bulkId}`;

export const presetTestWorkflowId = (project: string, testId: string): string => `preset-test/${project}/${testId}`;

export const rescoreWorkflowId = (project: string, rescoreId: string): string => `rescore/${project}/${rescoreId}`;

/** One for each part of the warehouse, so that none waits for another. Files' came first, and had the project's name to itself. */
export const warehouseLoadWorkflowId = (project: string, sink: WarehouseSink): string => (sink === 'files' ? `warehouse-load/${project}` : `warehouse-load/${project}/${sink}`);
export const warehouseCompactWorkflowId = (project: string): string => `warehouse-compact/${project}`;

/** Temporal appends the scheduled time to it for each run. */
export const ingestWorkflowId = (project: string, source: string): string => `ingest/${project}/${source}`;

/** A run's ID in the database and in the names of its report and log: the workflow's ID without slashes. */
export const runIdOf = (workflowId: string): string => workflowId.replace(/^ingest\//, '').replace('/', '.').replace('/', '.');
/** The way back. Project and source hold no dots. */
export const workflowIdOfRun = (runId: string): string => `ingest/${runId.replace('.', '/').replace('.', '/')}`;

/** The project of an installation that has only one; its objects lie at the top, as other programs expect them. */
export const DEFAULT_PROJECT = 'default';

/**
 * What a project's object keys begin with. Derived from its ID rather than set, so that two projects never
 * share a key, and no setting can leave a project's objects behind.
 */
export const projectPrefix = (project: string): string => (project === DEFAULT_PROJECT ? '' : `projects/${project}/`);

export type RecordingFormat = 'wav' | 'mp3';

/** What is kept of one call. */
export const callPrefix = ({ project, callId }: CallKey): string => `${projectPrefix(project)}call-detail/${callId}/`;
export const recordingKey = (call: CallKey, format: RecordingFormat): string => `${callPrefix(call)}recording.${format}`;
export const transcriptKey = (call: CallKey): string => `${callPrefix(call)}transcript.json`;
/** What one version heard; the newest also lies at `transcriptKey`. */
export const transcriptVersionKey = (call: CallVersion): string => `${callPrefix(call)}versions/${call.version}/transcript.json`;
export const analysisKey = (call: CallKey): string => `${callPrefix(call)}analysis.json`;
export const crmMarkerKey = ({ project, callId }: CallKey): string => `${projectPrefix(project)}SFDC/${callId}.txt`;
/** The certificate of an erasure. */
export const erasureKey = (project: string, erasureId: string): string => `${projectPrefix(project)}erasures/${erasureId}.json`;
/** Which calls' steps were under way; there only until they are cleaned up after. */
export const lateErasureKey = (project: string, erasureId: string): string => `${projectPrefix(project)}erasures/${erasureId}.late.json`;
export const reportKey = (project: string, runId: string): string => `${projectPrefix(project)}reports/${fileSafe(runId)}.json`;
export const logKey = (project: string, runId: string): string => `${projectPrefix(project)}logs/${fileSafe(runId)}.ndjson`;

/** Where recordings lie that were uploaded, until they are copied to their call. */
export const uploadPrefix = (project: string): string => `${projectPrefix(project)}uploads/`;

/** The partition of the call table a call belongs to, by the UTC month in which it started. */
export interface Partition {
  year: string;
  month: string;
}

export const partitionOf = (startedAtMs: number): Partition => {
  const [year, month] = new Date(startedAtMs).toISOString().split('-') as [string, string];
  return { year, month };
};

/** Where a project's call table lies: nothing else may be under it. */
export const callTablePrefix = (project: string): string => `${projectPrefix(project)}call-data/`;
export const partitionPrefix = (project: string, { year, month }: Partition): string => `${callTablePrefix(project)}year=${year}/month=${month}/`;
/** The name of a project's call table in the catalogue. Project IDs hold no underscores, so no two names meet. */
export const callTableName = (table: string, project: string): string => (project === DEFAULT_PROJECT ? table : `${table}_${project.replaceAll('-', '_')}`);
export const metadataKey = ({ project, callId }: CallKey, startedAtMs: number): string => `${partitionPrefix(project, partitionOf(startedAtMs))}${callId}.json`;

/** Run IDs carry the scheduled time with its colons; object keys and file names do without. */
const fileSafe = (id: string): string => id.replaceAll(/[^A-Za-z0-9._-]+/g, '-');
