import { DEFAULT_TEMPLATE } from '../prompt-template.ts';
import { INSTALLATION, type PresetSettings } from '../preset.ts';
import type { Rubric } from '../rubric.ts';
import { COMPLAINTS_RUBRIC } from './complaints.ts';
import { SALES_RUBRIC } from './sales.ts';
import { SUPPORT_RUBRIC } from './support.ts';

/** A preset to begin with. */
export interface StarterPreset {
  id: string;
  name: string;
  settings: PresetSettings;
}

const OPENING = 'You grade {{category}} calls of {{company}}. Write in {{language}}.';

const starter = (name: string, rubric: Rubric): StarterPreset => ({
  id: rubric.id,
  name,
  settings: {
    speech: { provider: INSTALLATION },
    diarization: { provider: INSTALLATION },
    model: { provider: INSTALLATION },
    template: `${OPENING}\n${DEFAULT_TEMPLATE}`,
    rubric,
  },
});

/** By the installation's own providers, so that they work as they are. */
export const STARTER_PRESETS: readonly StarterPreset[] = [starter('Sales', SALES_RUBRIC), starter('Support', SUPPORT_RUBRIC), starter('Complaints', COMPLAINTS_RUBRIC)];
