/** Queries a project's call table in place. */
export interface Warehouse {
  /** How many records the call table holds, as the query engine sees it. */
  countCalls(project: string, options?: { signal?: AbortSignal }): Promise<CallTableCounts>;
}

export interface CallTableCounts {
  totalRecords: number;
  withRecording: number;
  withTranscript: number;
  withAnalysis: number;
}
