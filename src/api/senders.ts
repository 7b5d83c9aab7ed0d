import { createHash, timingSafeEqual } from 'node:crypto';
import type { Config } from '../config.ts';
import type { Connectors } from '../db/connectors.ts';
import { asInstallation } from '../db/scope.ts';
import { DEFAULT_PROJECT } from '../domain/ids.ts';
import type { AmoCrmHookOf } from './amocrm-webhook.ts';
import type { RetellKeyOf } from './retell-webhook.ts';
import type { WebexSecretOf } from './webhooks.ts';

/** Says of a webhook which project it is for: of its connector, or of the installation's settings. */
export interface Senders {
  amocrm: AmoCrmHookOf;
  retell: RetellKeyOf;
  webex: WebexSecretOf;
}

interface Dependencies {
  config: Pick<Config, 'WEBEX_WEBHOOK_SECRET' | 'RETELL_API_KEY' | 'RETELL_WEBHOOK_KEY' | 'AMOCRM_BASE_URL' | 'AMOCRM_ACCOUNT_ID' | 'AMOCRM_WEBHOOK_SECRET'>;
  connectors: Pick<Connectors, 'find' | 'findByWebhookSecret' | 'revisions'>;
}

/** For as long a key that was replaced is still good. One that was just put in its place is known at once. */
const KEY_GOOD_MS = 5_000;

export const createSenders = ({ config, connectors }: Dependencies): Senders => {
  /** The installation's own settings hold for its project as long as that has not connected the system itself. */
  const isInstalled = async (kind: string): Promise<boolean> => !(await asInstallation(() => connectors.revisions(DEFAULT_PROJECT))).has(kind);
  const installed = config.AMOCRM_WEBHOOK_SECRET === undefined ? undefined : digest(config.AMOCRM_WEBHOOK_SECRET);
  /** Several events of each call come, from hundreds of calls at once: their key is not looked up for each. */
  const retellKeys = new Map<string, { key: string; readAtMs: number }>();
  return {
    async amocrm(secret) {
      // Digests are of one length, whatever is compared.
      if (installed && timingSafeEqual(digest(secret), installed) && (await isInstalled('amocrm'))) {
        return { project: DEFAULT_PROJECT, accountId: config.AMOCRM_ACCOUNT_ID, baseUrl: config.AMOCRM_BASE_URL };
      }
      const connector = await connectors.findByWebhookSecret('amocrm', secret);
      return connector && { project: connector.project, accountId: connector.settings['AMOCRM_ACCOUNT_ID'], baseUrl: connector.settings['AMOCRM_BASE_URL'] };
    },

    retell: async (project = DEFAULT_PROJECT, { anew = false } = {}) => {
      const known = retellKeys.get(project);
      if (known && !anew && Date.now() - known.readAtMs < KEY_GOOD_MS) return { project, key: known.key };
      const connector = await asInstallation(() => connectors.find(project, 'retell'));
      const settings: Partial<Record<string, string>> = connector ? connector.secrets : project === DEFAULT_PROJECT ? config : {};
      const key = settings['RETELL_WEBHOOK_KEY'] ?? settings['RETELL_API_KEY'];
      // Only of projects that there are: names come from outside.
      if (key === undefined) retellKeys.delete(project);
      else retellKeys.set(project, { key, readAtMs: Date.now() });
      return key === undefined ? undefined : { project, key };
    },

    async webex(project = DEFAULT_PROJECT) {
      const connector = await asInstallation(() => connectors.find(project, 'webex'));
      const secret = connector ? connector.secrets['WEBEX_WEBHOOK_SECRET'] : project === DEFAULT_PROJECT ? config.WEBEX_WEBHOOK_SECRET : undefined;
      return secret === undefined ? undefined : { project, secret };
    },
  };
};

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
