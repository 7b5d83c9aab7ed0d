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

export const createSenders = ({ config, connectors }: Dependencies): Senders => {
  /** The installation's own settings hold for its project as long as that has not connected the system itself. */
  const isInstalled = async (kind: string): Promise<boolean> => !(await asInstallation(() => connectors.revisions(DEFAULT_PROJECT))).has(kind);
  const installed = config.AMOCRM_WEBHOOK_SECRET === undefined ? undefined : digest(config.AMOCRM_WEBHOOK_SECRET);
  return {
    async amocrm(secret) {
      // Digests are of one length, whatever is compared.
      if (installed && timingSafeEqual(digest(secret), installed) && (await isInstalled('amocrm'))) {
        return { project: DEFAULT_PROJECT, accountId: config.AMOCRM_ACCOUNT_ID, baseUrl: config.AMOCRM_BASE_URL };
      }
      const connector = await connectors.findByWebhookSecret('amocrm', secret);
      return connector && { project: connector.project, accountId: connector.settings['AMOCRM_ACCOUNT_ID'], baseUrl: connector.settings['AMOCRM_BASE_URL'] };
    },

    async retell(project = DEFAULT_PROJECT) {
      const connector = await asInstallation(() => connectors.find(project, 'retell'));
      const settings: Partial<Record<string, string>> = connector ? connector.secrets : project === DEFAULT_PROJECT ? config : {};
      const key = settings['RETELL_WEBHOOK_KEY'] ?? settings['RETELL_API_KEY'];
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
