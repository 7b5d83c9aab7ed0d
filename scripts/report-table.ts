import Table from 'cli-table3';
import type { ExecutionReport } from '../src/domain/report.ts';

const usd = (micro: number): string => `$${(micro / 1e6).toFixed(4)}`;

/** The execution report as a person reads it. */
export const reportTable = (report: ExecutionReport): string => {
  const table = new Table({ style: { head: [], border: [] } });
  const section = (title: string, rows: Record<string, string | number>): void => {
    table.push([{ colSpan: 2, content: title.toUpperCase() }]);
    for (const [label, value] of Object.entries(rows)) table.push([`  ${label}`, { hAlign: 'right', content: String(value) }]);
  };
  section(`Execution summary: ${report.windowFrom.slice(0, 16)}Z to ${report.windowTo.slice(0, 16)}Z`, {
    'tasks found': report.tasksFound,
    'new tasks': report.newTasks,
    'skipped, already processed': report.skippedAlreadyProcessed,
    'still open': report.stillOpen,
    'processed successfully': report.processedSuccessfully,
    '  of these abandoned': report.endedEarly.abandoned,
    '  of these without a recording': report.endedEarly.noRecording,
    '  of these too short to grade': report.endedEarly.tooShort,
    failed: report.failed,
    rejected: report.rejected,
    'awaiting approval': report.awaitingApproval,
    'need attention': report.needsAttention,
    'in progress': report.inProgress,
    'transcripts collected': report.transcriptsCollected,
    analyzed: report.analyzed,
  });
  const { catalogue } = report;
  section(
    'Call table',
    'unavailable' in catalogue
      ? { unavailable: catalogue.unavailable }
      : { 'total records': catalogue.totalRecords, 'with recording': catalogue.withRecording, 'with transcript': catalogue.withTranscript, 'with analysis': catalogue.withAnalysis },
  );
  section('CRM actions', {
    'leads created': report.crm.leadsCreated,
    'leads converted': report.crm.leadsConverted,
    'accounts updated': report.crm.accountsUpdated,
    transferred: report.crm.transferred,
    ...Object.fromEntries(Object.entries(report.crm.crmSkipped).map(([scenario, calls]) => [`skipped: ${scenario.replaceAll('_', ' ')}`, calls])),
  });
  section('Cost', { transcription: usd(report.cost.sttMicroUsd), 'language model': usd(report.cost.llmMicroUsd), total: usd(report.cost.totalMicroUsd), 'unsettled requests': report.cost.unsettledRequests });
  return table.toString();
};
