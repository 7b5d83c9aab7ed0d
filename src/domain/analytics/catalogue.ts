import { CALL_GROUPS, type FilterName, type GroupName, TIME_GROUPS } from './groups.ts';
import { type AnalyticsQuery, count, type Derived, mean, percent, seconds, value } from './query.ts';
import { aggregate, type Measures, placedRows, type Rows } from './select.ts';
import { noticed } from './noticed.ts';
import { outcomes } from './outcomes.ts';
import { percentiles } from './percentiles.ts';

const countIf = (condition: string) => (): string => `COUNT(CASE WHEN ${condition} THEN 1 END)`;
const sum = (sql: string) => (): string => `SUM(${sql})`;
const all = (): string => 'COUNT(*)';

/** Calls that took place or were tried: of voice calls, those that the provider has taken. */
const CALLS: Rows = { table: 'calls', at: 'call_started_at', partitioned: true, where: 't.voice_call_id IS NULL OR t.dialled_at IS NOT NULL' };
/** By when they were dialled, which may be long after they were asked for. */
const DIALLED: Rows = { table: 'calls', at: 'dialled_at', partitioned: false, where: 't.voice_call_id IS NOT NULL' };
const REQUESTED: Rows = { table: 'calls', at: 'requested_at', partitioned: false, where: 't.voice_call_id IS NOT NULL' };
const GRADED: Rows = { ...CALLS, where: 't.score_percent IS NOT NULL' };
const ANSWERS: Rows = { table: 'answers', at: 'call_started_at', partitioned: true, where: 't.verdict IS NOT NULL' };
const COSTS: Rows = { table: 'costs', at: 'reserved_at', partitioned: true, withCall: CALL_GROUPS };

const CALL_FILTERS: readonly FilterName[] = ['source', 'direction', 'queue', 'team', 'agent', 'category', 'outcome', 'batch'];
const EVERY_CALL_GROUP: readonly GroupName[] = [...TIME_GROUPS, ...CALL_GROUPS];

interface Counted {
  about: string;
  rows: Rows;
  by?: readonly GroupName[];
  groups?: readonly GroupName[];
  defaultGroups: readonly GroupName[];
  filters?: readonly FilterName[];
  measures: Measures;
  columns: readonly Derived[];
}

/** A query that counts and sums up rows, and nothing else. */
const counted = ({ about, rows, by = [], groups = EVERY_CALL_GROUP, defaultGroups, filters = CALL_FILTERS, measures, columns }: Counted): AnalyticsQuery => ({
  about,
  by,
  groups,
  defaultGroups,
  filters,
  columns,
  select: (asked, engine) => aggregate(placedRows(rows, asked, engine), measures, asked, engine),
});

const volume = counted({
  about: 'How many calls there were, and how far they have come.',
  rows: CALLS,
  groups: [...EVERY_CALL_GROUP, 'batch'],
  defaultGroups: ['day'],
  measures: { calls: all, connected: countIf('connected'), processed: countIf("result = 'processed'"), analysed: countIf('has_analysis'), attention: countIf("state = 'needs_attention'") },
  columns: [
    count('calls', 'calls', 'that took place or were tried'),
    count('connected', 'calls', 'in which somebody was reached'),
    count('processed', 'calls', 'that went down the whole path'),
    count('analysed', 'calls', 'that have an analysis'),
    count('needAttention', 'calls', 'that wait for a person', 'attention'),
  ],
});

const score = counted({
  about: 'How well calls were done, by the score of their analysis as people have left it.',
  rows: GRADED,
  groups: [...EVERY_CALL_GROUP, 'rubric'],
  defaultGroups: ['agent'],
  filters: [...CALL_FILTERS, 'rubric'],
  measures: {
    graded: all,
    score_sum: sum('score_percent'),
    lowest: () => 'MIN(score_percent)',
    highest: () => 'MAX(score_percent)',
    judged: countIf('passed IS NOT NULL'),
    passed: countIf('passed'),
    reviewed: countIf('reviewed'),
    negative: countIf("sentiment = 'negative'"),
  },
  columns: [
    count('gradedCalls', 'calls', 'that have a score', 'graded'),
    mean('averageScorePercent', 'percent', 'the mean of their scores', 'score_sum', 'graded'),
    value('lowestScorePercent', 'percent', 'the lowest of their scores', 'lowest'),
    value('highestScorePercent', 'percent', 'the highest of their scores', 'highest'),
    percent('passedPercent', 'share that reached the pass mark', 'passed', 'judged'),
    percent('reviewedPercent', 'share that a person has looked at', 'reviewed', 'graded'),
    percent('negativePercent', 'share with a negative mood', 'negative', 'graded'),
  ],
});

const criteria = counted({
  about: 'How the questions of the rubrics were answered.',
  rows: ANSWERS,
  by: ['criterion'],
  groups: [...EVERY_CALL_GROUP, 'rubric'],
  defaultGroups: [],
  filters: [...CALL_GROUPS, 'rubric', 'criterion'],
  measures: {
    answers: all,
    yes: countIf("verdict = 'yes'"),
    no: countIf("verdict = 'no'"),
    not_evidenced: countIf("verdict = 'not_evidenced'"),
    not_applicable: countIf("verdict = 'not_applicable'"),
    arose: countIf("verdict <> 'not_applicable'"),
    corrected: countIf('corrected'),
  },
  columns: [
    count('answers', 'answers', 'to the question'),
    count('yes', 'answers', 'that are yes'),
    count('no', 'answers', 'that are no'),
    count('notEvidenced', 'answers', 'without evidence in the transcript', 'not_evidenced'),
    count('notApplicable', 'answers', 'where the question did not arise', 'not_applicable'),
    percent('yesPercent', 'share of yes where the question arose', 'yes', 'arose'),
    count('corrected', 'answers', 'that a person has changed'),
  ],
});

// By what was done: a renewal has the opportunity that was open before, a duplicate the lead that was there. Each step is
// counted among the one before, so that no share passes 100.
const TO_OPPORTUNITY = "connected AND crm_action = 'convert_lead' AND opportunity_id IS NOT NULL";
const TO_LEAD = "connected AND crm_action IN ('create_lead', 'convert_lead') AND (lead_id IS NOT NULL OR opportunity_id IS NOT NULL)";

const funnel = counted({
  about: 'How many calls led to a lead, and to an opportunity. What the CRM had before counts for none: neither the open opportunity of a customer who renews, nor a lead that was there already.',
  rows: CALLS,
  groups: [...EVERY_CALL_GROUP, 'batch'],
  defaultGroups: [],
  measures: {
    calls: all,
    connected: countIf('connected'),
    analysed: countIf('has_analysis'),
    leads: countIf(TO_LEAD),
    opportunities: countIf(TO_OPPORTUNITY),
  },
  columns: [
    count('calls', 'calls', 'that took place or were tried'),
    count('connected', 'calls', 'in which somebody was reached'),
    count('analysed', 'calls', 'that have an analysis'),
    count('leads', 'calls', 'in which somebody was reached, and for which a lead was made, or one that was named was converted'),
    count('opportunities', 'calls', 'of these, whose lead was converted into an opportunity'),
    percent('connectedPercent', 'of the calls', 'connected', 'calls'),
    percent('leadPercent', 'of those in which somebody was reached', 'leads', 'connected'),
    percent('opportunityPercent', 'of those that led to a lead', 'opportunities', 'leads'),
  ],
});

const cost = counted({
  about: 'What was paid to providers, by when it was asked for.',
  rows: COSTS,
  groups: [...TIME_GROUPS, 'step', 'kind', 'provider', 'model', ...CALL_GROUPS],
  defaultGroups: ['day'],
  filters: ['step', 'kind', 'provider', 'model', ...CALL_GROUPS],
  measures: { micro_usd: sum('micro_usd'), requests: all, unsettled: countIf("state <> 'settled'"), calls: () => 'COUNT(DISTINCT call_id)' },
  columns: [
    count('costMicroUsd', 'microUsd', 'in millionths of a US dollar; of requests whose answer never came, what was set aside', 'micro_usd'),
    count('requests', 'requests', 'that were paid for'),
    count('unsettled', 'requests', 'whose answer never came, and which may have been billed'),
    count('calls', 'calls', 'that they were made for'),
    mean('costPerCallMicroUsd', 'microUsd', 'the mean over those calls', 'micro_usd', 'calls', { digits: 0 }),
  ],
});

const answerRate = counted({
  about: 'When voice calls are answered, by the hour of the day in which they were dialled.',
  rows: DIALLED,
  by: ['hourOfDay'],
  groups: ['day', 'week', 'month', 'weekday', 'agent', 'batch'],
  defaultGroups: [],
  filters: ['agent', 'batch', 'outcome', 'source', 'category'],
  measures: { dialled: all, answered: countIf("outcome IN ('connected', 'voicemail')"), connected: countIf('connected'), known: countIf('outcome IS NOT NULL') },
  columns: [
    count('dialled', 'voiceCalls', 'that the provider has taken'),
    count('answered', 'voiceCalls', 'that somebody or a machine has answered'),
    count('connected', 'voiceCalls', 'in which a person was reached'),
    percent('answeredPercent', 'of those whose outcome is known', 'answered', 'known'),
    percent('connectedPercent', 'of those whose outcome is known', 'connected', 'known'),
  ],
});

const ended = (outcome: string) => countIf(`outcome = '${outcome}'`);
const attempts = counted({
  about: 'What became of voice calls, by when they were asked for.',
  rows: REQUESTED,
  groups: [...TIME_GROUPS, 'agent', 'batch'],
  defaultGroups: ['day'],
  filters: ['agent', 'batch', 'outcome', 'source', 'category'],
  measures: {
    requested: all,
    dialled: countIf('dialled_at IS NOT NULL'),
    connected: ended('connected'),
    voicemail: ended('voicemail'),
    busy: ended('busy'),
    no_answer: ended('no_answer'),
    failed: countIf("outcome = 'failed' OR (outcome IS NULL AND voice_state = 'failed')"),
    cancelled: countIf("voice_state = 'cancelled'"),
    waiting: countIf("voice_state IN ('queued', 'dialling')"),
    attention: countIf("voice_state = 'needs_attention'"),
    wait_ms: ({ millisecondsBetween }) => `SUM(CASE WHEN dialled_at IS NOT NULL THEN ${millisecondsBetween('requested_at', 'dialled_at')} END)`,
  },
  columns: [
    count('requested', 'voiceCalls', 'that were asked for'),
    count('dialled', 'voiceCalls', 'that the provider has taken'),
    count('connected', 'voiceCalls', 'in which a person was reached'),
    count('voicemail', 'voiceCalls', 'that a machine answered'),
    count('busy', 'voiceCalls', 'that found the line busy'),
    count('noAnswer', 'voiceCalls', 'that nobody answered', 'no_answer'),
    count('failed', 'voiceCalls', 'that the provider refused or could not put through'),
    count('cancelled', 'voiceCalls', 'that were taken back'),
    count('waiting', 'voiceCalls', 'that are not dialled yet'),
    count('needAttention', 'voiceCalls', 'that wait for a person', 'attention'),
    mean('averageWaitSeconds', 'seconds', 'from being asked for to being dialled, on average', 'wait_ms', 'dialled', { per: 1_000, digits: 1 }),
  ],
});

const duration: AnalyticsQuery = {
  about: 'How long calls were.',
  by: [],
  groups: [...EVERY_CALL_GROUP, 'outcome', 'batch'],
  defaultGroups: ['day'],
  filters: CALL_FILTERS,
  columns: [
    count('calls', 'calls', 'whose length is known'),
    seconds('totalSeconds', 'all of them together', 'total'),
    mean('averageSeconds', 'seconds', 'their mean', 'total', 'calls', { per: 1_000, digits: 1 }),
    seconds('p50Seconds', 'half of them are as long or shorter (nearest rank)', 'p50'),
    seconds('p90Seconds', 'nine tenths of them are as long or shorter (nearest rank)', 'p90'),
    seconds('longestSeconds', 'the longest of them', 'longest'),
  ],
  select: (asked, engine) => percentiles(placedRows({ ...CALLS, where: `(${CALLS.where}) AND t.duration_ms IS NOT NULL` }, asked, engine), 'duration_ms', asked),
};

const outcome: AnalyticsQuery = {
  about: 'How calls went.',
  by: ['outcome'],
  groups: [...EVERY_CALL_GROUP, 'batch'],
  defaultGroups: [],
  filters: CALL_FILTERS,
  columns: [count('calls', 'calls', 'that went so'), percent('sharePercent', 'of the calls of the same group', 'calls', 'whole')],
  select: (asked, engine) => outcomes(placedRows(CALLS, asked, engine), asked),
};

const said = (about: string, where: string): AnalyticsQuery => ({
  about,
  by: ['name'],
  groups: EVERY_CALL_GROUP,
  defaultGroups: [],
  filters: [...CALL_GROUPS],
  columns: [
    count('calls', 'calls', 'in which it was noticed'),
    count('times', 'times', 'that it was noticed'),
    count('analysedCalls', 'calls', 'of the same group that have an analysis', 'analysed'),
    percent('sharePercent', 'of the analysed calls of the same group', 'calls', 'analysed'),
  ],
  select: (asked, engine) => noticed({ table: 'events', at: 'call_started_at', partitioned: true, where }, { ...CALLS, where: 't.has_analysis' }, asked, engine),
});

/** Every question that can be asked. Their names stand in addresses. */
export const CATALOGUE = {
  volume,
  outcome,
  duration,
  score,
  criteria,
  objections: said('Which objections customers raise, by how often.', "t.kind = 'pattern' AND t.name LIKE 'objection%'"),
  patterns: said('What customers say, of the closed list of patterns, by how often.', "t.kind = 'pattern'"),
  issues: said('What the analyses found wrong, by how often.', "t.kind = 'issue'"),
  funnel,
  cost,
  'answer-rate': answerRate,
  attempts,
} as const satisfies Record<string, AnalyticsQuery>;

export type QueryName = keyof typeof CATALOGUE;
export const QUERY_NAMES = Object.keys(CATALOGUE) as [QueryName, ...QueryName[]];
export const queryOf = (name: QueryName): AnalyticsQuery => CATALOGUE[name];
