import { z } from 'zod';
import { diarizers } from '../adapters/diarization/registry.ts';
import { languageModels } from '../adapters/llm/registry.ts';
import { OPENAI_COMPATIBILITIES, OPENAI_COMPATIBILITY, type OpenAICapabilities } from '../adapters/openai-capabilities.ts';
import { transcribers } from '../adapters/stt/registry.ts';
import { INSTALLATION, KEYED_PARTS, PRESET_ID, RESERVED_PRESETS } from '../domain/preset.ts';
import { faultsOfCriteria, faultsOfTemplate, LONGEST_TEMPLATE, MOST_CRITERIA } from '../domain/prompt-template.ts';
import { PresetBindingShape } from './settings.schema.ts';

/** What a preset is saved from, and what is shown of it. */

const baseUrl = z
  .url({ protocol: /^https?$/, error: 'must be an http(s) URL' })
  .max(300)
  .refine((text) => !/[?#]/.test(text), 'must have no query and no fragment')
  .transform((text) => text.replace(/\/+$/, ''));
const modelName = z.string().regex(/^[\w.:/@+-]{1,100}$/, 'must be a model\'s name: letters, digits and . : / @ + - _, at most 100');
const language = z.string().regex(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/, 'must be a language tag such as en or pt-BR');
/** Visible ASCII: what fits into a header. */
const key = z.string().regex(/^[\x21-\x7e]{1,500}$/, 'must be 1 to 500 visible characters');

interface Part {
  names: readonly string[];
  /** What a server that speaks OpenAI's API lacks for it, in words. */
  lacks: (capabilities: OpenAICapabilities) => string | undefined;
  none?: true;
}

const PARTS = {
  speech: { names: transcribers.names, lacks: ({ transcriptionFormats }) => (transcriptionFormats.length === 0 ? 'does not transcribe' : undefined) },
  diarization: { names: diarizers.names, lacks: () => undefined, none: true },
  model: { names: languageModels.names, lacks: ({ chat }) => (chat === false ? 'knows speech only, no language model' : undefined) },
} as const satisfies Record<string, Part>;

const providerOf = ({ names, lacks, none }: Part) =>
  z.strictObject({ provider: z.string().max(40), baseUrl: baseUrl.optional(), model: modelName.optional(), compatibility: z.string().max(40).optional(), language: language.optional() }).superRefine((given, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    const { provider, compatibility } = given;
    const own = provider === INSTALLATION || (none && provider === 'none');
    if (!own && !names.includes(provider)) return fault('provider', `there is no "${provider}"; name one of these: ${[...names, INSTALLATION, ...(none ? ['none'] : [])].join(', ')}`);
    if (own && given.baseUrl !== undefined) fault('baseUrl', `belongs to a provider that is named, not to "${provider}"`);
    if (provider === 'none' && given.model !== undefined) fault('model', 'belongs to a provider');
    if (compatibility === undefined) return;
    if (provider !== 'openai') return fault('compatibility', 'says what a server can do that speaks OpenAI\'s API; the provider has to be openai');
    if (!(OPENAI_COMPATIBILITIES as string[]).includes(compatibility)) return fault('compatibility', `must be one of ${OPENAI_COMPATIBILITIES.join(', ')}`);
    const missing = lacks(OPENAI_COMPATIBILITY[compatibility as keyof typeof OPENAI_COMPATIBILITY]);
    if (missing) fault('compatibility', `${compatibility} ${missing}`);
  });

const CriterionShape = z.strictObject({
  id: z.string().max(100),
  category: z.string().max(100),
  question: z.string().max(2_000),
  weight: z.number(),
  notApplicableWhen: z.string().max(2_000).optional(),
  evidenceFrom: z.enum(['agent', 'customer', 'either']).default('agent'),
});

/** Line ends as they come from forms on Windows are line ends. */
const template = z
  .string()
  .max(LONGEST_TEMPLATE * 2)
  .transform((text) => text.replaceAll('\r\n', '\n').trim())
  .superRefine((text, context) => {
    for (const message of faultsOfTemplate(text)) context.addIssue({ code: 'custom', message });
  });

const criteria = z
  .array(CriterionShape)
  .max(MOST_CRITERIA * 2)
  .superRefine((given, context) => {
    for (const message of faultsOfCriteria(given as Parameters<typeof faultsOfCriteria>[0])) context.addIssue({ code: 'custom', message });
  });

const CONTENT = {
  speech: providerOf(PARTS.speech).default({ provider: INSTALLATION }),
  diarization: providerOf(PARTS.diarization).default({ provider: INSTALLATION }),
  model: providerOf(PARTS.model).default({ provider: INSTALLATION }),
  template,
  criteria,
  /** Whether what a voice provider wrote down of a call that it held is its transcript, so that nobody is paid to listen. */
  acceptProviderTranscript: z.boolean().default(true),
  /** Never shown again. Left out, those of the version before go on, if they go where they went. */
  keys: z.strictObject({ speech: key.optional(), diarization: key.optional(), model: key.optional() }).default({}),
};
type Content = { [K in (typeof KEYED_PARTS)[number]]: { provider: string } } & { keys: Partial<Record<(typeof KEYED_PARTS)[number], string | undefined>> };
const unusedKeys = (given: Content, context: z.RefinementCtx): void => {
  for (const part of KEYED_PARTS) {
    if (given.keys[part] !== undefined && [INSTALLATION, 'none'].includes(given[part].provider)) context.addIssue({ code: 'custom', path: ['keys', part], message: `is not used: the ${part} provider is "${given[part].provider}"` });
  }
};

const name = z.string().trim().min(1).max(100);
const presetId = z
  .string()
  .regex(PRESET_ID, 'must be lower-case letters, digits and "-", at most 40, beginning with a letter or digit')
  .refine((id) => !RESERVED_PRESETS.includes(id) && !id.startsWith('draft-'), 'is a name that is taken by the product');

export const CreatePresetBody = z.strictObject({ id: presetId, name, ...CONTENT }).superRefine(unusedKeys);
export const SavePresetBody = z.strictObject({ name: name.optional(), basedOn: z.number().int().min(1).optional(), ...CONTENT }).superRefine(unusedKeys);
export const DraftBody = z.strictObject({ ...CONTENT, /** A preset whose keys go on. */ basedOn: PresetBindingShape.optional() }).superRefine(unusedKeys);

export const TestPresetBody = z
  .strictObject({
    callId: z.string().min(1).max(200),
    preset: PresetBindingShape.optional(),
    draft: DraftBody.optional(),
    /** Also transcribes the recording anew, which costs what it costs. */
    transcribe: z.boolean().default(false),
  })
  .refine(({ preset, draft }) => (preset === undefined) !== (draft === undefined), 'needs either a preset or a draft');

const ProviderShape = z.object({ provider: z.string(), baseUrl: z.string().optional(), model: z.string().optional(), compatibility: z.string().optional(), language: z.string().optional(), keyHint: z.string().optional() });
const RubricShape = z.object({ id: z.string(), version: z.string(), criteria: z.array(z.object({ ...CriterionShape.shape, evidenceFrom: z.enum(['agent', 'customer', 'either']) })) });
export const PricingShape = z.object({ model: z.string(), /** `unpriced`: counts as nothing, so that no budget holds it. */ price: z.enum(['listed', 'told_by_provider', 'unpriced']) });
const SettingsShape = { speech: ProviderShape, diarization: ProviderShape, model: ProviderShape, template: z.string(), rubric: RubricShape, acceptProviderTranscript: z.boolean() };

export const PresetShape = z.object({
  preset: z.string(),
  version: z.number(),
  newestVersion: z.number(),
  name: z.string(),
  ...SettingsShape,
  pricing: z.object({ speech: PricingShape, diarization: PricingShape.nullable(), model: PricingShape }),
  boundTo: z.array(z.string()),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  archivedAt: z.iso.datetime().nullable(),
});
export const PresetListShape = z.object({ presets: z.array(PresetShape), next: z.string().nullable() });
export const StartersShape = z.object({
  presets: z.array(z.object({ id: z.string(), name: z.string(), ...SettingsShape })),
  placeholders: z.array(z.object({ name: z.string(), about: z.string() })),
  providers: z.object({ speech: z.array(z.string()), diarization: z.array(z.string()), model: z.array(z.string()), compatibilities: z.array(z.string()) }),
});

export const PresetTestShape = z.object({
  testId: z.string(),
  callId: z.string(),
  version: z.number(),
  preset: z.string(),
  transcribe: z.boolean(),
  state: z.enum(['running', 'done', 'failed']),
  result: z.record(z.string(), z.unknown()).nullable(),
  error: z.object({ code: z.string(), message: z.string(), advice: z.string() }).nullable(),
  costMicroUsd: z.number(),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  endedAt: z.iso.datetime().nullable(),
});

export const PresetParams = z.strictObject({ project: z.string().max(40), presetId: z.string().max(40) });
export const PresetTestParams = z.strictObject({ project: z.string().max(40), testId: z.string().max(40) });
