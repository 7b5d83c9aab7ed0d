import type { z } from 'zod';
import { diarizers } from '../adapters/diarization/registry.ts';
import { languageModels } from '../adapters/llm/registry.ts';
import { OPENAI_COMPATIBILITY, type OpenAICompatibility } from '../adapters/openai-capabilities.ts';
import type { ProviderChoice } from '../adapters/provider.ts';
import { transcribers } from '../adapters/stt/registry.ts';
import type { PresetRow } from '../db/presets.ts';
import { type Price, priceOf } from '../domain/cost.ts';
import { acceptsProviderTranscript, INSTALLATION, type PresetProvider, type PresetSettings } from '../domain/preset.ts';
import type { PresetShape, PricingShape } from './presets.schema.ts';

/** What the installation itself uses, and what things cost. */
export interface PriceView {
  prices: readonly Price[];
  installation: { speech: ProviderChoice; diarization: ProviderChoice | undefined; model: ProviderChoice };
}

type Pricing = z.output<typeof PricingShape>;
const REGISTRIES = { speech: transcribers, diarization: diarizers, model: languageModels };

/** Which model a part comes to, and whether anybody knows its price. Without one, its requests count as nothing. */
const pricingOf = ({ prices, installation }: PriceView, part: keyof typeof REGISTRIES, given: PresetProvider): Pricing | null => {
  const own = installation[part];
  const byInstallation = given.provider === INSTALLATION;
  if (given.provider === 'none' || (byInstallation && !own)) return null;
  const model = given.model ?? (byInstallation ? own?.model : undefined) ?? REGISTRIES[part].defaultsOf(byInstallation ? own!.provider : given.provider)?.model ?? 'unknown';
  const capabilities = byInstallation ? own?.capabilities : given.compatibility && OPENAI_COMPATIBILITY[given.compatibility as OpenAICompatibility];
  if (capabilities && capabilities.usage === 'cost') return { model, price: 'told_by_provider' };
  return { model, price: priceOf(prices, model, new Date().toISOString().slice(0, 10)) ? 'listed' : 'unpriced' };
};

/** A preset as it may be shown: of its keys, the hints. */
export const presetView = (view: PriceView, row: PresetRow, bindings: Readonly<Record<string, string>>): z.output<typeof PresetShape> => ({
  preset: row.preset,
  version: row.version,
  newestVersion: row.newestVersion,
  name: row.name,
  ...settingsView(row.settings),
  pricing: { speech: pricingOf(view, 'speech', row.settings.speech)!, diarization: pricingOf(view, 'diarization', row.settings.diarization), model: pricingOf(view, 'model', row.settings.model)! },
  // A binding without a version goes with the newest.
  boundTo: Object.entries(bindings)
    .filter(([, binding]) => binding === `${row.preset}@${row.version}` || (binding === row.preset && row.version === row.newestVersion))
    .map(([category]) => category),
  createdAt: row.createdAt.toISOString(),
  createdBy: row.createdBy,
  archivedAt: row.archivedAt?.toISOString() ?? null,
});

export const settingsView = (settings: PresetSettings) => {
  const { speech, diarization, model, template, rubric } = settings;
  return { speech, diarization, model, template, rubric, acceptProviderTranscript: acceptsProviderTranscript(settings) };
};
