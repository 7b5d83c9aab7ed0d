import type { BulkActivities } from '../domain/bulk.ts';
import type {
  CrmActivities,
  DeskActivities,
  IngestActivities,
  LlmActivities,
  MessageActivities,
  Queue,
  RecordingActivities,
} from '../domain/activities.ts';

/** The activities by the queue that serves them. */
export interface Activities extends Record<Queue, object> {
  workflows: DeskActivities & IngestActivities & BulkActivities;
  recordings: RecordingActivities;
  llm: LlmActivities;
  crm: CrmActivities;
  messages: MessageActivities;
}
