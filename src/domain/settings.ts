import type { AgreementFloor } from './agreement.ts';
import type { CategoryRule } from './category.ts';
import type { QuietWindow } from './quiet-hours.ts';
import type { StagingRule } from './staging.ts';
import type { TeamRule } from './team.ts';

/**
 * Settings of a project. The names are the brief's, in camelCase.
 *
 * Installation-wide settings (addresses, credentials) are in `src/config.ts`.
 */
export interface ProjectSettings {
  /** How far back a window reaches, in minutes. */
  minutesBack: number;
  /** Off: calls wait for `approve` or `reject` before anything is fetched. What `stagingRules` say comes first. */
  autoProcess: boolean;
  /** In order: the first that fits a call decides whether it is processed, waits, or is left out. */
  stagingRules: StagingRule[];
  /** A call that waited this long to be let in is rejected as expired; 0: it waits for ever. */
  stagingExpiresAfterHours: number;
  /** Recordings are removed this many days after their call; 0: never. */
  retainAudioDays: number;
  /** The same for transcripts, and for the quotes in analyses; scores and verdicts stay. */
  retainTranscriptsDays: number;
  /** Calls are erased with all that is known of them this many days after they ended; 0: never. */
  retainRecordsDays: number;
  /** Off: a poll starts calls again that have already been processed, as a new version. */
  skipProcessed: boolean;
  transcribe: boolean;
  registerGlue: boolean;
  runAnalysis: boolean;
  runCrmActions: boolean;
  /** Which CRM actions wait for a person. `risky`: converting, updating or transferring existing records. */
  crmApproval: 'never' | 'risky' | 'always';
  /** A call with fewer turns than this is not graded. */
  minTurnsToGrade: number;
  /** First wait for a recording that is not published yet; doubles up to 15 minutes. */
  recordingFirstLookSeconds: number;
  /** A recording that has not come this long after the call is taken as never coming. */
  recordingDeadlineMinutes: number;
  /** BCP-47, or undefined to let the provider detect it. */
  language?: string;
  /** Regular expressions that a business registration number must match one of. */
  brnFormats: string[];
  /** Salesforce user or queue ID that flagged customers are handed to. */
  managedAccountsOwner: string;
  /** Told to consumers who reached a business line. */
  consumerHotline: string;
  /** Most that a day's paid requests may cost, in millionths of a US dollar; 0: no limit. Days are UTC. */
  dailyBudgetMicroUsd: number;
  /** The same for one call, over all its versions. */
  callBudgetMicroUsd: number;
  /**
   * By which preset the calls of a category are heard and graded; `default` for all others. `sales` is
   * that preset's newest version, `sales@3` this very one. Nothing bound: the installation's own.
   */
  presets: Record<string, string>;
  /** Share of the reachable points at which a call passes. */
  passPercent: number;
  /** How calls are sorted; the first rule that fits decides. */
  categories: CategoryRule[];
  /** Who works with whom: what calls are also counted by. The first rule that fits an agent decides. */
  teams: TeamRule[];
  /** Calls that score less are told of; 0: none. */
  lowScoreThreshold: number;
  /** Score, summary and a link to the report are noted in the CRM. */
  crmNotes: boolean;
  /** Telegram chat that is told when a run's report is written; empty: none. */
  runsChat: string;
  /** Telegram chat that is told of low scores; empty: none. */
  alertsChat: string;
  /** A question that people and the model agree on less than this is shown, but counts for nothing. Unset: all count. */
  agreementFloor?: AgreementFloor;
  /** IANA name of the zone that the project's days and hours are of, unless something says its own. */
  timeZone: string;
  /** When nobody is called: by the clocks of the number's zone where the call names one, else of the project's. */
  quietHours: QuietWindow[];
  /** Most calls that one number gets on a day of its zone; what is over it waits for the next day. 0: no limit. */
  voiceCallsPerNumberPerDay: number;
  /** E.164. Calls may be placed from these only; empty: from any number of the provider's account. */
  voiceNumbers: string[];
  /** Most of the account's lines that the project uses at once; 0: all that are free. */
  voiceLines: number;
  /** Whether calls that a voice provider held, and that we did not place, are processed too. */
  takeUnplacedCalls: boolean;
}

export const DEFAULT_SETTINGS: ProjectSettings = {
  minutesBack: 10_080,
  autoProcess: true,
  stagingRules: [],
  stagingExpiresAfterHours: 0,
  retainAudioDays: 0,
  retainTranscriptsDays: 0,
  retainRecordsDays: 0,
  skipProcessed: true,
  transcribe: true,
  registerGlue: true,
  runAnalysis: true,
  runCrmActions: true,
  crmApproval: 'never',
  minTurnsToGrade: 4,
  recordingFirstLookSeconds: 30,
  recordingDeadlineMinutes: 360,
  // Singapore UEN (three issued forms), the region of the default AWS region; set your own.
  brnFormats: ['^\\d{8}[A-Z]$', '^(19|20)\\d{7}[A-Z]$', '^[RST]\\d{2}[A-Z]{2}\\d{4}[A-Z]$'],
  managedAccountsOwner: '',
  consumerHotline: '',
  dailyBudgetMicroUsd: 0,
  callBudgetMicroUsd: 0,
  presets: {},
  passPercent: 70,
  categories: [],
  teams: [],
  lowScoreThreshold: 60,
  crmNotes: true,
  runsChat: '',
  alertsChat: '',
  timeZone: 'UTC',
  quietHours: [],
  voiceCallsPerNumberPerDay: 0,
  voiceNumbers: [],
  voiceLines: 0,
  takeUnplacedCalls: false,
};
