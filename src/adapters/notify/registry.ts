import type { Config } from '../../config.ts';
import type { Notifier, NotifierName } from './notifier.ts';
import { createTelegram } from './telegram.ts';
import { createWebhook } from './webhook.ts';

export type Notifiers = { readonly [Name in NotifierName]: Notifier<Name> };

/** Every notifier by its name. A new one is a file beside this, its target in `Targets`, and a line here. */
export const createNotifiers = (config: Pick<Config, 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY' | 'TELEGRAM_BASE_URL'>): Notifiers => ({
  telegram: createTelegram(config),
  webhook: createWebhook(config),
});
