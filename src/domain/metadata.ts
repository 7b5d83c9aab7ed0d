import type { CallDetails } from './call.ts';

/**
 * A row of the call table: one JSON object on one line at `call-data/year=YYYY/month=MM/{task_id}.json`.
 *
 * Field names are the brief's. Absent values are null, so every row has every column.
 */
export interface CallRecord {
  task_id: string;
  status: 'completed' | 'abandoned';
  direction: 'inbound' | 'outbound';
  origin_phone: string | null;
  destination_phone: string | null;
  queue_name: string | null;
  agent_name: string | null;
  duration_seconds: number | null;
  recording_file: string | null;
  transcript_file: string | null;
  analysis_file: string | null;
}

/** Columns of the call table in the order of `CallRecord`; types as Hive names them. */
export const CALL_TABLE_COLUMNS: readonly { name: keyof CallRecord; type: 'string' | 'int'; comment: string }[] = [
  { name: 'task_id', type: 'string', comment: "the source's ID of the call" },
  { name: 'status', type: 'string', comment: 'completed or abandoned' },
  { name: 'direction', type: 'string', comment: 'inbound or outbound' },
  { name: 'origin_phone', type: 'string', comment: 'E.164' },
  { name: 'destination_phone', type: 'string', comment: 'E.164' },
  { name: 'queue_name', type: 'string', comment: '' },
  { name: 'agent_name', type: 'string', comment: 'null on calls that no person took' },
  { name: 'duration_seconds', type: 'int', comment: 'length of the recording, rounded' },
  { name: 'recording_file', type: 'string', comment: 'URI' },
  { name: 'transcript_file', type: 'string', comment: 'URI' },
  { name: 'analysis_file', type: 'string', comment: 'URI' },
];

export interface Artefacts {
  durationMs?: number;
  recordingUri?: string;
  transcriptUri?: string;
  analysisUri?: string;
}

export const callRecord = (call: CallDetails, artefacts: Artefacts): CallRecord => ({
  task_id: call.callId,
  status: call.status === 'abandoned' ? 'abandoned' : 'completed',
  direction: call.direction,
  origin_phone: call.originPhone ?? null,
  destination_phone: call.destinationPhone ?? null,
  queue_name: call.queueName ?? null,
  agent_name: call.agentName ?? null,
  duration_seconds: artefacts.durationMs === undefined ? null : Math.round(artefacts.durationMs / 1000),
  recording_file: artefacts.recordingUri ?? null,
  transcript_file: artefacts.transcriptUri ?? null,
  analysis_file: artefacts.analysisUri ?? null,
});

/** Newline-terminated and never pretty-printed: Hive's JSON reader takes one object per line. */
export const recordLine = (record: CallRecord): string => `${JSON.stringify(record)}\n`;
