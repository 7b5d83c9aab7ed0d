import type { Migration } from 'kysely/migration';
import * as calls from './0001-calls.ts';
import * as encryptionKeys from './0002-encryption-keys.ts';
import * as accounts from './0003-accounts.ts';
import * as audit from './0004-audit.ts';
import * as budgets from './0005-budgets.ts';
import * as presets from './0006-presets.ts';
import * as connectors from './0007-connectors.ts';
import * as messages from './0008-messages.ts';
import * as staging from './0009-staging.ts';
import * as reviews from './0010-reviews.ts';
import * as retention from './0012-retention.ts';
import * as quality from './0013-quality.ts';
import * as settings from './0014-settings.ts';
import * as rescores from './0011-rescores.ts';
import * as voice from './0015-voice.ts';
import * as tracking from './0016-tracking.ts';
import * as voiceLines from './0020-voice-lines.ts';
import * as warehouse from './0017-warehouse.ts';
import * as uploads from './0022-uploads.ts';
import * as voiceHandOver from './0023-voice-hand-over.ts';
import * as inbox from './0024-inbox.ts';
import * as voiceCharges from './0025-voice-charges.ts';
import * as completeness from './0019-completeness.ts';

/** In order. A migration that has shipped is never edited; a change is a new one. */
export const MIGRATIONS: Record<string, Migration> = {
  '0001-calls': calls,
  '0002-encryption-keys': encryptionKeys,
  '0003-accounts': accounts,
  '0004-audit': audit,
  '0005-budgets': budgets,
  '0006-presets': presets,
  '0007-connectors': connectors,
  '0008-messages': messages,
  '0009-staging': staging,
  '0010-reviews': reviews,
  '0012-retention': retention,
  '0011-rescores': rescores,
  '0013-quality': quality,
  '0014-settings': settings,
  '0015-voice': voice,
  '0016-tracking': tracking,
  '0020-voice-lines': voiceLines,
  '0017-warehouse': warehouse,
  '0019-completeness': completeness,
  '0022-uploads': uploads,
  '0023-voice-hand-over': voiceHandOver,
  '0024-inbox': inbox,
  '0025-voice-charges': voiceCharges,
};
