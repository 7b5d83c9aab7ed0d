import { z } from 'zod';
import { leavesTurns } from '../domain/daily-limit.ts';
import { isTimeZone } from '../domain/local-time.ts';
import { parseBinding } from '../domain/preset.ts';
import { WEEKDAYS } from '../domain/quiet-hours.ts';
import { STAGING_ACTS } from '../domain/staging.ts';
import type { ProjectSettings } from '../domain/settings.ts';

/** A phone number as the telephony takes it. */
export const E164 = z.string().regex(/^\+[1-9]\d{6,14}$/, 'must be a phone number in E.164: a plus sign, the country, the number, and nothing else');

const name = z.string().trim().min(1).max(200);
/** Short, because it stands in addresses, on pages and in the calls' records. */
export const CategoryName = z.string().regex(/^[a-z][a-z0-9_-]{0,39}$/, 'must be lower-case letters, digits, "_" and "-", at most 40, beginning with a letter');

/** `sales`: its newest version; `sales@3`: this very one; `installation`: the installation's own. */
export const PresetBindingShape = z.string().max(50).refine((binding) => parseBinding(binding) !== undefined, 'must be the ID of a preset, perhaps with "@" and a version');

const CategoryRuleShape = z.strictObject({
  category: CategoryName,
  queues: z.array(name).min(1).max(100).optional(),
  agents: z.array(name).min(1).max(500).optional(),
  sources: z.array(name).min(1).max(20).optional(),
  direction: z.enum(['inbound', 'outbound']).optional(),
});

const StagingRuleShape = z
  .strictObject({
    name: z.string().trim().min(1).max(100),
    act: z.enum(STAGING_ACTS),
    direction: z.enum(['inbound', 'outbound']).optional(),
    queues: z.array(name).min(1).max(100).optional(),
    categories: z.array(CategoryName).min(1).max(40).optional(),
    sources: z.array(name).min(1).max(20).optional(),
    minDurationSeconds: z.number().int().min(0).max(86_400).optional(),
    maxDurationSeconds: z.number().int().min(0).max(86_400).optional(),
    samplePercent: z.number().min(0).max(100).optional(),
  })
  .refine(({ minDurationSeconds: min, maxDurationSeconds: max }) => min === undefined || max === undefined || min <= max, 'minDurationSeconds must not be above maxDurationSeconds');

/** Each that may match more or less of a text multiplies the ways to try; so does each alternative. */
const MOST_CHOICES = 3;
const MOST_REPEATS = 50;

/**
 * A pattern from outside is matched against what was said on calls, in a process that serves other projects too: it
 * must not take for ever. Counted repeats such as `{8}` cost nothing; of everything else there may be only a few.
 */
const brnFormat = z.string().min(1).max(200).superRefine((pattern, context) => {
  try {
    new RegExp(pattern);
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : 'is no regular expression' });
  }
  const plain = pattern.replaceAll(/\\[1-9k]/g, '(?').replaceAll(/\\./g, 'x').replaceAll(/\[[^\]]*\]/g, 'x');
  const counts = [...plain.matchAll(/\{(\d+)\}/g)].map(([, count]) => Number(count));
  const choices = plain.replaceAll(/\(\?:/g, '(').match(/[*+?|]|\{\d+,\d*\}/g)?.length ?? 0;
  if (choices > MOST_CHOICES || counts.some((count) => count > MOST_REPEATS) || /\(\?[^:]|\(\?$/.test(plain) || /[)*+?}][*+{]/.test(plain)) {
    context.addIssue({ code: 'custom', message: `must hold at most ${MOST_CHOICES} of * + ? | {n,m}, no repeated group or repetition, no {n} above ${MOST_REPEATS}, no look-around and no back-reference: such patterns can take for ever` });
  }
});

/** A group's ID is negative; a channel may go by its name. */
const chat = z.string().regex(/^$|^-?\d{1,20}$|^@[A-Za-z]\w{3,31}$/, 'must be the ID of a Telegram chat, @channel, or empty');
const microUsd = z.number().int().min(0).max(1e12);

const QuietWindowShape = z
  .strictObject({
    from: z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day from 00:00 to 23:59'),
    to: z.string().regex(/^(([01]\d|2[0-3]):[0-5]\d|24:00)$/, 'must be a time of day from 00:00 to 24:00'),
    days: z.array(z.enum(WEEKDAYS)).min(1).max(7).optional(),
  })
  .refine(({ from, to }) => from !== to, 'from and to must not be the same; a whole day is 00:00 to 24:00');

/** What each setting of a project may be; the meaning stands in `ProjectSettings`. */
export const SETTING_SHAPES = {
  minutesBack: z.number().int().min(1).max(525_600),
  autoProcess: z.boolean(),
  stagingRules: z.array(StagingRuleShape).max(100),
  stagingExpiresAfterHours: z.number().min(0).max(8_760),
  retainAudioDays: z.number().int().min(0).max(36_500),
  retainTranscriptsDays: z.number().int().min(0).max(36_500),
  retainRecordsDays: z.number().int().min(0).max(36_500),
  skipProcessed: z.boolean(),
  transcribe: z.boolean(),
  registerGlue: z.boolean(),
  runAnalysis: z.boolean(),
  runCrmActions: z.boolean(),
  crmApproval: z.enum(['never', 'risky', 'always']),
  minTurnsToGrade: z.number().int().min(1).max(1_000),
  recordingFirstLookSeconds: z.number().int().min(1).max(86_400),
  recordingDeadlineMinutes: z.number().int().min(1).max(43_200),
  language: z.string().regex(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/, 'must be a language tag such as en or pt-BR').optional(),
  brnFormats: z.array(brnFormat).max(20),
  managedAccountsOwner: z.string().regex(/^$|^(005|00G)[A-Za-z0-9]{12}([A-Za-z0-9]{3})?$/, 'must be the ID of a Salesforce user (005…) or queue (00G…), or empty'),
  consumerHotline: z.string().trim().max(50),
  dailyBudgetMicroUsd: microUsd,
  callBudgetMicroUsd: microUsd,
  passPercent: z.number().min(0).max(100),
  agreementFloor: z.strictObject({ measure: z.enum(['raw', 'kappa', 'ac1']), value: z.number().min(-1).max(1), minN: z.number().int().min(2).max(100_000) }).optional(),
  categories: z.array(CategoryRuleShape).max(100),
  teams: z.array(z.strictObject({ team: name, agents: z.array(name).min(1).max(500) })).max(200),
  presets: z.record(CategoryName, PresetBindingShape).refine((presets) => Object.keys(presets).length <= 100, 'must have at most 100 entries'),
  lowScoreThreshold: z.number().min(0).max(100),
  crmNotes: z.boolean(),
  runsChat: chat,
  alertsChat: chat,
  timeZone: z.string().max(60).refine(isTimeZone, 'must be the name of a time zone, as in Asia/Singapore'),
  quietHours: z.array(QuietWindowShape).max(20).refine(leavesTurns, 'leave no time of the week at which anybody could be called: two minutes in a row'),
  voiceCallsPerNumberPerDay: z.number().int().min(0).max(1_000),
  voiceNumbers: z.array(E164).max(500),
  voiceLines: z.number().int().min(0).max(10_000),
  takeUnplacedCalls: z.boolean(),
} satisfies { [K in keyof ProjectSettings]-?: z.ZodType<ProjectSettings[K]> };

export const SettingsShape = z.object(SETTING_SHAPES);

/** Any of them; `null` takes what was set away, so that the installation's holds again. */
export const SettingsChange = z
  .strictObject(Object.fromEntries(Object.entries(SETTING_SHAPES).map(([setting, shape]) => [setting, (shape as z.ZodType).nullable().optional()])) as unknown as { [K in keyof typeof SETTING_SHAPES]: z.ZodOptional<z.ZodNullable<(typeof SETTING_SHAPES)[K]>> })
  .refine((changes) => Object.keys(changes).length > 0, 'names no setting');
