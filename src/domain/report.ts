/**
 * The execution report of one run of a window. Field names are the brief's, in camelCase.
 *
 * Counted from the records when the run settles. These hold by construction and are checked when it is
 * built:
 * `tasksFound = newTasks + skippedAlreadyProcessed + stillOpen` and
 * `newTasks = processedSuccessfully + failed + rejected + awaitingApproval + needsAttention + inProgress`.
 */
export interface ExecutionReport {
  runId: string;
  project: string;
  source: string;
  /** ISO 8601, UTC. */
  windowFrom: string;
  windowTo: string;
  startedAt: string;
  finishedAt: string;

  tasksFound: number;
  newTasks: number;
  skippedAlreadyProcessed: number;
  /** Found, but the call itself had not ended. A later window takes it. */
  stillOpen: number;

  processedSuccessfully: number;
  failed: number;
  rejected: number;
  awaitingApproval: number;
  needsAttention: number;
  /** Not settled when the run stopped waiting, e.g. a recording that is not published yet. */
  inProgress: number;
  /** Of `processedSuccessfully`, those that ended before the whole path, by reason. */
  endedEarly: { abandoned: number; noRecording: number; tooShort: number };

  transcriptsCollected: number;
  analyzed: number;

  /** As the query engine sees the call table; null with the reason when it could not be asked. */
  catalogue: CatalogueCounts | { unavailable: string };
  crm: {
    leadsCreated: number;
    leadsConverted: number;
    accountsUpdated: number;
    transferred: number;
    /** By the decision table's scenario. */
    crmSkipped: Record<string, number>;
  };
  cost: { totalMicroUsd: number; sttMicroUsd: number; llmMicroUsd: number; unsettledRequests: number };
}

export interface CatalogueCounts {
  totalRecords: number;
  withRecording: number;
  withTranscript: number;
  withAnalysis: number;
}
