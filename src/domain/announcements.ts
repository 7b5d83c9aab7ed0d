import type { Attention, CallDetails, CallVersion } from './call.ts';
import type { DayCounts, DayKey } from './completeness.ts';
import type { CrmResult } from './crm-rules.ts';
import type { ExecutionReport } from './report.ts';
import type { EffectiveAnalysis } from './review.ts';

/** What people and programs outside are told of. Programs get all of it, people only what somebody asked to hear. */
export const EVENTS = ['call.completed', 'call.corrected', 'call.low_score', 'call.needs_attention', 'run.completed', 'completeness.gap'] as const;
export type AnnouncedEvent = (typeof EVENTS)[number];

/** What somebody outside is told about a call or a run. */
export interface Message {
  /** Of the event, and the same at every try: a receiver tells a repeat by it. */
  id: string;
  event: AnnouncedEvent;
  at: Date;
  /** For people: a heading, what there is to say, and where the rest is. */
  title: string;
  lines: string[];
  link?: { label: string; url: string };
  /** For programs. */
  facts: Record<string, unknown>;
}

/** A message before it is known whom it goes to. */
export type Content = Omit<Message, 'id' | 'at'>;

/** A call as it is published: with the analysis that counts, which a person may have corrected. */
export interface PublishedCall {
  call: CallVersion;
  details: CallDetails;
  analysis: EffectiveAnalysis | null;
  crm: CrmResult | null;
  result: string | null;
  reportUrl: string;
}

const REPORT_LINK = 'Open the report';

/** "45 of 100", or that there is none. */
export const scoreText = (percent: number | null | undefined): string => (percent === null || percent === undefined ? 'not scored' : `${percent} of 100`);

/** Whether a score is one that people want to hear of. A call without a score is not. */
export const isLow = (percent: number | null | undefined, threshold: number): boolean => typeof percent === 'number' && percent < threshold;

const titleCase = (name: string): string => name.replaceAll('_', ' ').replace(/^./, (first) => first.toUpperCase());

/** Who spoke on which queue, and when (UTC). */
export const placeOf = ({ agentName, queueName, startedAtMs, direction }: CallDetails): string =>
  [agentName ?? 'no agent', queueName, direction, `${new Date(startedAtMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`].filter(Boolean).join(' · ');

const failedCriteria = (analysis: EffectiveAnalysis): string[] => {
  const missed = analysis.answers.filter(({ verdict, advisory }) => !advisory && (verdict === 'no' || verdict === 'not_evidenced')).map(({ criterion }) => criterion.replaceAll('_', ' '));
  return missed.length > 0 ? [`Missed: ${missed.join(', ')}`] : [];
};

const factsOf = ({ call, details, analysis, crm, result, reportUrl }: PublishedCall): Record<string, unknown> => ({
  project: call.project,
  callId: call.callId,
  version: call.version,
  source: details.source,
  direction: details.direction,
  startedAt: new Date(details.startedAtMs).toISOString(),
  queueName: details.queueName ?? null,
  agentName: details.agentName ?? null,
  result,
  scorePercent: analysis?.grading.total_score_percent ?? null,
  pass: analysis?.grading.pass ?? null,
  sentiment: analysis?.sentiment ?? null,
  summary: analysis?.summary ?? null,
  crm: crm && { scenario: crm.scenario, action: crm.action, records: { ...crm.records } },
  reportUrl,
});

/** A call has gone its whole way, or a person has corrected what came of it. */
export const callPublished = (event: 'call.completed' | 'call.corrected', published: PublishedCall): Content => ({
  event,
  title: `Call ${event === 'call.completed' ? 'completed' : 'corrected'}: ${scoreText(published.analysis?.grading.total_score_percent)}`,
  lines: [placeOf(published.details), ...(published.analysis ? [published.analysis.summary] : [])],
  link: { label: REPORT_LINK, url: published.reportUrl },
  facts: factsOf(published),
});

/** A score below the threshold; or, of a message that said so once, that the score is another now. */
export const lowScore = (published: PublishedCall, threshold: number): Content => {
  const percent = published.analysis?.grading.total_score_percent;
  const low = isLow(percent, threshold);
  return {
    event: 'call.low_score',
    title: low ? `Low score: ${scoreText(percent)}` : `Score is ${scoreText(percent)} now`,
    lines: [
      placeOf(published.details),
      low ? `Below ${threshold}.` : `It was below ${threshold} before.`,
      ...(published.analysis ? [...(low ? failedCriteria(published.analysis) : []), '', published.analysis.summary] : []),
    ],
    link: { label: REPORT_LINK, url: published.reportUrl },
    facts: { ...factsOf(published), lowScoreThreshold: threshold, low },
  };
};

export const callNeedsAttention = (call: CallVersion, attention: Attention): Content => ({
  event: 'call.needs_attention',
  title: `A call waits for somebody at ${attention.step}`,
  lines: [`Call ${call.callId}`, attention.message, attention.advice],
  facts: { project: call.project, callId: call.callId, version: call.version, step: attention.step, code: attention.code, message: attention.message, advice: attention.advice, attempts: attention.attempts },
});

export const runCompleted = (report: ExecutionReport): Content => {
  const count = (what: string, calls: number): string[] => (calls > 0 ? [`${calls} ${what}`] : []);
  return {
    event: 'run.completed',
    title: `${report.newTasks} new ${report.newTasks === 1 ? 'call' : 'calls'}, ${report.processedSuccessfully} processed`,
    lines: [
      `${report.project}, ${report.source}: ${report.windowFrom.slice(0, 16).replace('T', ' ')} to ${report.windowTo.slice(0, 16).replace('T', ' ')} UTC`,
      [...count('need attention', report.needsAttention), ...count('failed', report.failed), ...count('await approval', report.awaitingApproval), ...count('still in progress', report.inProgress)].join(', ') || 'Nothing waits for anybody.',
      `Transcripts: ${report.transcriptsCollected}, graded: ${report.analyzed}, leads created: ${report.crm.leadsCreated}, converted: ${report.crm.leadsConverted}`,
      // Cents of a small run would all be zero.
      `Cost: $${(report.cost.totalMicroUsd / 1e6).toFixed(report.cost.totalMicroUsd < 1e6 ? 4 : 2)}`,
    ],
    facts: { ...report },
  };
};

/** Calls of a day that nobody can explain, or that could not be taken in. */
export const completenessGap = ({ project, source, day }: DayKey, counts: DayCounts): Content => {
  const notTakenIn = counts.gaps.not_taken_in ?? 0;
  return {
    event: 'completeness.gap',
    title: `${counts.unexplained + notTakenIn} calls of ${day} do not add up`,
    lines: [
      `${project}, ${source}: the source lists ${counts.listed} calls, ${counts.processed} of them were processed.`,
      ...(counts.unexplained > 0 ? [`${counts.unexplained} that nothing explains.`] : []),
      ...(notTakenIn > 0 ? [`${notTakenIn} that could not be taken in.`] : []),
    ],
    facts: { project, source, day, ...counts },
  };
};

/** What is written about a graded call on its card or record in the CRM. */
export const gradedCallNote = ({ analysis, reportUrl }: { analysis: EffectiveAnalysis; reportUrl: string }): { subject: string; text: string } => {
  const section = (heading: string, items: string[]): string[] => (items.length > 0 ? ['', `${heading}:`, ...items.map((item) => `- ${item}`)] : []);
  const { grading } = analysis;
  return {
    subject: `Call graded: ${scoreText(grading.total_score_percent)}`,
    text: [
      analysis.summary,
      ...section('Scores', Object.entries(grading.categories).filter(([, { score_percent }]) => score_percent !== null).map(([category, { score_percent }]) => `${titleCase(category)}: ${score_percent}`)),
      ...section('Issues', analysis.issues_detected),
      ...section('Recommendations', analysis.recommendations),
      '',
      `Report: ${reportUrl}`,
    ].join('\n'),
  };
};
