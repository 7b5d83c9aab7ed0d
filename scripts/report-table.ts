import Table from 'cli-table3';
import type { ExecutionReport } from '../src/domain/report.ts';

const usd = (micro: number): string => `$${(micro / 1e6).toFixed(4)}`;
const minutes = (iso: string): string => `${iso.slice(0, 16).replace('T', ' ')}`;

/** The execution report as a person reads it: one box for each of its parts. */
export const reportTable = (report: ExecutionReport): string => {
  const { catalogue, crm, cost, endedEarly } = report;
  return [
    `Window ${minutes(report.windowFrom)} to ${minutes(report.windowTo)} UTC, run ${report.runId}`,
    section('Calls', {
      'tasks found': report.tasksFound,
      'new tasks': report.newTasks,
      'skipped, already processed': report.skippedAlreadyProcessed,
      'still open': report.stillOpen,
    }),
    section('New tasks', {
      'processed successfully': report.processedSuccessfully,
      '  of these abandoned': endedEarly.abandoned,
      '  of these without a recording': endedEarly.noRecording,
      '  of these too short to grade': endedEarly.tooShort,
      failed: report.failed,
      rejected: report.rejected,
      'awaiting approval': report.awaitingApproval,
      'need attention': report.needsAttention,
      'in progress': report.inProgress,
      'transcripts collected': report.transcriptsCollected,
      analyzed: report.analyzed,
    }),
    section(
      'Call table',
      'unavailable' in catalogue
        ? catalogue.unavailable
        : { 'total records': catalogue.totalRecords, 'with recording': catalogue.withRecording, 'with transcript': catalogue.withTranscript, 'with analysis': catalogue.withAnalysis },
    ),
    section('CRM actions', {
      'leads created': crm.leadsCreated,
      'leads converted': crm.leadsConverted,
      'accounts updated': crm.accountsUpdated,
      transferred: crm.transferred,
      ...Object.fromEntries(Object.entries(crm.crmSkipped).map(([scenario, calls]) => [`skipped: ${scenario.replaceAll('_', ' ')}`, calls])),
    }),
    section('Cost', { transcription: usd(cost.sttMicroUsd), diarisation: usd(cost.diarizationMicroUsd), 'language model': usd(cost.llmMicroUsd), total: usd(cost.totalMicroUsd), 'unsettled requests': cost.unsettledRequests }),
  ].join('\n');
};

/** @param rows numbers by name, or why there are none */
const section = (title: string, rows: Record<string, string | number> | string): string => {
  const table = new Table({ head: [title, ''], colWidths: [46, 14], wordWrap: true, style: { head: [], border: [], compact: true } });
  if (typeof rows === 'string') table.push([{ colSpan: 2, content: rows }]);
  else for (const [name, value] of Object.entries(rows)) table.push([name, { hAlign: 'right', content: String(value) }]);
  return table.toString();
};
