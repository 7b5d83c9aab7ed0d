import type { Config } from '../../config.ts';
import type { Crm } from './crm.ts';
import { createSalesforce } from './salesforce.ts';

/** Every CRM by its name. A new one is a file beside this and a line here. */
const CRMS = { salesforce: createSalesforce } satisfies Record<string, (config: Config) => Crm>;

export const createCrm = (config: Config, name: keyof typeof CRMS = 'salesforce'): Crm => CRMS[name](config);
