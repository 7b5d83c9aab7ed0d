import type { ErasureActivities } from '../domain/erasure.ts';
import type { RescoreActivities } from '../domain/rescore.ts';
import type { CompletenessActivities } from '../domain/completeness.ts';
import type { PresetTestActivities } from '../domain/preset-test.ts';
import type { WarehouseActivities } from '../domain/warehouse.ts';
import type { VoiceLinesActivities } from '../domain/voice-lines.ts';
import type { HandOverActivities, VoiceActivities } from '../domain/voice-work.ts';
import type { BulkActivities } from '../domain/bulk.ts';
import type {
  CrmActivities,
  DeskActivities,
  IngestActivities,
  LlmActivities,
  MessageActivities,
  PublicationActivities,
  Queue,
  RecordingActivities,
} from '../domain/activities.ts';

/** The activities by the queue that serves them. */
export interface Activities extends Record<Queue, object> {
  workflows: CompletenessActivities & DeskActivities & IngestActivities & BulkActivities & ErasureActivities & PublicationActivities & Omit<RescoreActivities, 'rescoreCall'>;
  recordings: RecordingActivities;
  llm: LlmActivities & PresetTestActivities & Pick<RescoreActivities, 'rescoreCall'>;
  crm: CrmActivities;
  messages: MessageActivities;
  voice: VoiceActivities & HandOverActivities & VoiceLinesActivities;
  warehouse: WarehouseActivities;
}
