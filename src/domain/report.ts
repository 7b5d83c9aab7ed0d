import type { CallResult, CallState } from './call.ts';

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
    /** By the decision table's scenario; `already_done` where an earlier run of the call had acted. */
    crmSkipped: Record<string, number>;
  };
  cost: { totalMicroUsd: number; sttMicroUsd: number; diarizationMicroUsd: number; llmMicroUsd: number; /** What voice providers charged for holding the calls. */ voiceMicroUsd: number; unsettledRequests: number };
}

export interface CatalogueCounts {
  totalRecords: number;
  withRecording: number;
  withTranscript: number;
  withAnalysis: number;
}

/** What the records say of a run, as `db/runs.ts` counts it. */
export interface CountedRun {
  tasks: { new: number; skipped: number; open: number };
  calls: { state: CallState; result: CallResult | null; calls: number }[];
  transcripts: number;
  analyses: number;
  crm: { scenario: string; action: string; calls: number }[];
  cost: { sttMicroUsd: number; diarizationMicroUsd: number; llmMicroUsd: number; voiceMicroUsd: number; unsettledRequests: number };
}

/** Which line of the report a call's state counts under. */
const LINE_OF_STATE: Record<CallState, 'processedSuccessfully' | 'failed' | 'rejected' | 'awaitingApproval' | 'needsAttention' | 'inProgress'> = {
  staged: 'inProgress',
  processing: 'inProgress',
  waiting_for_recording: 'inProgress',
  awaiting_approval: 'awaitingApproval',
  needs_attention: 'needsAttention',
  completed: 'processedSuccessfully',
  rejected: 'rejected',
  given_up: 'failed',
  cancelled: 'failed',
  failed: 'failed',
};

const CRM_LINE: Record<string, 'leadsCreated' | 'leadsConverted' | 'accountsUpdated' | 'transferred'> = {
  create_lead: 'leadsCreated',
  convert_lead: 'leadsConverted',
  update_account: 'accountsUpdated',
  transfer: 'transferred',
};

/**
 * Adds up a run.
 *
 * @throws Error when the sums do not add up: a report that contradicts itself must not be written
 */
export const buildReport = (
  run: Pick<ExecutionReport, 'runId' | 'project' | 'source' | 'windowFrom' | 'windowTo' | 'startedAt' | 'finishedAt'>,
  counted: CountedRun,
  catalogue: ExecutionReport['catalogue'],
): ExecutionReport => {
  const lines = { processedSuccessfully: 0, failed: 0, rejected: 0, awaitingApproval: 0, needsAttention: 0, inProgress: 0 };
  const endedEarly = { abandoned: 0, noRecording: 0, tooShort: 0 };
  for (const { state, result, calls } of counted.calls) {
    lines[LINE_OF_STATE[state]] += calls;
    if (state !== 'completed') continue;
    if (result === 'abandoned') endedEarly.abandoned += calls;
    if (result === 'no_recording') endedEarly.noRecording += calls;
    if (result === 'too_short') endedEarly.tooShort += calls;
  }
  const crm: ExecutionReport['crm'] = { leadsCreated: 0, leadsConverted: 0, accountsUpdated: 0, transferred: 0, crmSkipped: {} };
  for (const { scenario, action, calls } of counted.crm) {
    const line = CRM_LINE[action];
    if (line) crm[line] += calls;
    else crm.crmSkipped[scenario] = (crm.crmSkipped[scenario] ?? 0) + calls;
  }
  const { tasks } = counted;
  const newCalls = Object.values(lines).reduce((sum, calls) => sum + calls, 0);
  if (newCalls !== tasks.new) {
    throw new Error(`Run ${run.runId} started ${tasks.new} calls, but the records hold ${newCalls} of it.`);
  }
  return {
    ...run,
    tasksFound: tasks.new + tasks.skipped + tasks.open,
    newTasks: tasks.new,
    skippedAlreadyProcessed: tasks.skipped,
    stillOpen: tasks.open,
    ...lines,
    endedEarly,
    transcriptsCollected: counted.transcripts,
    analyzed: counted.analyses,
    catalogue,
    crm,
    cost: { totalMicroUsd: counted.cost.sttMicroUsd + counted.cost.diarizationMicroUsd + counted.cost.llmMicroUsd + counted.cost.voiceMicroUsd, ...counted.cost },
  };
};
