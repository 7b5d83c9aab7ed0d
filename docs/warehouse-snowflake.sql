-- Run once, in the database and schema that SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA name.

-- The loader needs USAGE on both and on the warehouse, and SELECT, INSERT, UPDATE and DELETE on the tables.

CREATE TRANSIENT TABLE IF NOT EXISTS calls (
  project VARCHAR NOT NULL COMMENT 'the project it belongs to',
  unit_id VARCHAR NOT NULL COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  load_id BIGINT NOT NULL COMMENT 'the load that wrote the row; later loads have greater ones',
  deleted BOOLEAN NOT NULL COMMENT 'the unit is no more, or no longer in this partition',
  updated_at TIMESTAMP_NTZ(3) COMMENT 'when the row was read from the database',
  call_id VARCHAR NOT NULL COMMENT 'the source''s ID of the call; the voice call''s own (`vc_…`) while it was not handed over',
  source VARCHAR COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  direction VARCHAR COMMENT '`inbound` or `outbound`',
  call_started_at TIMESTAMP_NTZ(3) COMMENT 'when the call started; for a voice call that never did, when it was requested',
  queue VARCHAR COMMENT 'the queue that it came in by',
  team VARCHAR COMMENT 'the agent''s team, by the project''s settings',
  agent VARCHAR COMMENT 'the person, or the voice agent, that spoke for the company',
  category VARCHAR COMMENT 'the call''s category, by the project''s settings',
  duration_ms BIGINT COMMENT 'length of the recording or, where there is none, as the source gives it',
  connected BOOLEAN COMMENT 'whether somebody was reached; null while that is not known',
  outcome VARCHAR COMMENT '`connected`, `abandoned`, `voicemail`, `busy`, `no_answer` or `failed`; null while that is not known',
  state VARCHAR COMMENT 'where it stands in the pipeline; null for a voice call that was not handed over',
  result VARCHAR COMMENT 'what it amounted to: `processed`, `abandoned`, `no_recording` or `too_short`',
  version INTEGER COMMENT 'how often it was processed',
  has_recording BOOLEAN COMMENT 'its recording is stored',
  has_transcript BOOLEAN COMMENT 'its transcript is stored',
  has_analysis BOOLEAN COMMENT 'it was analysed',
  language VARCHAR COMMENT 'of the transcript',
  rubric VARCHAR COMMENT 'what it was graded by, as in `service-call@1`',
  score_percent INTEGER COMMENT '0 to 100, as people have left it',
  passed BOOLEAN COMMENT 'whether the score reaches the pass mark',
  reviewed BOOLEAN COMMENT 'whether a person has looked at its analysis',
  sentiment VARCHAR COMMENT '`positive`, `neutral` or `negative`',
  crm_scenario VARCHAR COMMENT 'what the decision table made of it',
  crm_action VARCHAR COMMENT 'what was done in the CRM: `none`, `create_lead`, `convert_lead`, `update_account`, `transfer`, or `note_duplicate` where the lead was there already',
  lead_id VARCHAR COMMENT 'the CRM''s ID of the lead that was made, converted or noted on',
  account_id VARCHAR COMMENT 'the CRM''s ID of the account',
  contact_id VARCHAR COMMENT 'the CRM''s ID of the contact',
  opportunity_id VARCHAR COMMENT 'the CRM''s ID of the opportunity that came of it or, after `update_account`, was there before',
  voice_call_id VARCHAR COMMENT 'the voice call that it was placed by',
  voice_batch_id VARCHAR COMMENT 'the batch that brought the voice call',
  voice_state VARCHAR COMMENT 'where the voice call stands',
  disconnection_reason VARCHAR COMMENT 'why it ended, in the voice provider''s words',
  requested_at TIMESTAMP_NTZ(3) COMMENT 'when the voice call was asked for',
  dialled_at TIMESTAMP_NTZ(3) COMMENT 'when the voice provider took it',
  cost_micro_usd BIGINT COMMENT 'everything that was paid for it so far, in millionths of a US dollar',
  processed_at TIMESTAMP_NTZ(3) COMMENT 'when the pipeline was done with it',
  dt VARCHAR NOT NULL COMMENT 'UTC day of the partition, `YYYY-MM-DD`'
)
CLUSTER BY (project, dt)
DATA_RETENTION_TIME_IN_DAYS = 0;

CREATE TRANSIENT TABLE IF NOT EXISTS answers (
  project VARCHAR NOT NULL COMMENT 'the project it belongs to',
  unit_id VARCHAR NOT NULL COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  load_id BIGINT NOT NULL COMMENT 'the load that wrote the row; later loads have greater ones',
  deleted BOOLEAN NOT NULL COMMENT 'the unit is no more, or no longer in this partition',
  updated_at TIMESTAMP_NTZ(3) COMMENT 'when the row was read from the database',
  call_id VARCHAR NOT NULL COMMENT 'the call',
  criterion VARCHAR NOT NULL COMMENT 'the question''s ID in its rubric',
  source VARCHAR COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  direction VARCHAR COMMENT '`inbound` or `outbound`',
  call_started_at TIMESTAMP_NTZ(3) COMMENT 'when the call started; for a voice call that never did, when it was requested',
  queue VARCHAR COMMENT 'the queue that it came in by',
  team VARCHAR COMMENT 'the agent''s team, by the project''s settings',
  agent VARCHAR COMMENT 'the person, or the voice agent, that spoke for the company',
  category VARCHAR COMMENT 'the call''s category, by the project''s settings',
  version INTEGER COMMENT 'the call''s version that was graded',
  rubric VARCHAR COMMENT 'as in `service-call@1`',
  criterion_category VARCHAR COMMENT 'the question''s category in its rubric',
  verdict VARCHAR COMMENT '`yes`, `no`, `not_applicable` or `not_evidenced`, as people have left it',
  claimed VARCHAR COMMENT 'the model''s own answer, before its evidence was checked',
  points DOUBLE COMMENT 'points reached',
  out_of DOUBLE COMMENT 'points reachable: 0 where the question did not arise or counts for nothing',
  quotes INTEGER COMMENT 'quotes that stand in the transcript word for word',
  reviewed BOOLEAN COMMENT 'whether a person has confirmed or corrected it',
  corrected BOOLEAN COMMENT 'whether a person has answered otherwise',
  advisory BOOLEAN COMMENT 'counts for nothing in the score',
  dt VARCHAR NOT NULL COMMENT 'UTC day of the partition, `YYYY-MM-DD`'
)
CLUSTER BY (project, dt)
DATA_RETENTION_TIME_IN_DAYS = 0;

CREATE TRANSIENT TABLE IF NOT EXISTS costs (
  project VARCHAR NOT NULL COMMENT 'the project it belongs to',
  unit_id VARCHAR NOT NULL COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  load_id BIGINT NOT NULL COMMENT 'the load that wrote the row; later loads have greater ones',
  deleted BOOLEAN NOT NULL COMMENT 'the unit is no more, or no longer in this partition',
  updated_at TIMESTAMP_NTZ(3) COMMENT 'when the row was read from the database',
  cost_key VARCHAR NOT NULL COMMENT 'SHA-256 over what was asked for, and which try it was',
  call_id VARCHAR COMMENT 'the call that it was paid for, as in `calls`',
  version INTEGER COMMENT 'the call''s version',
  step VARCHAR COMMENT 'the step of the call, `preset_test`, `rescore`, or `voice`: the call itself',
  kind VARCHAR COMMENT '`llm`, `stt`, `diarization` or another kind of request',
  provider VARCHAR COMMENT 'who was paid',
  model VARCHAR COMMENT 'for what',
  state VARCHAR COMMENT '`reserved`: the answer never came, it may still have been billed; `settled`',
  micro_usd BIGINT COMMENT 'millionths of a US dollar; of a reserved one, what was set aside',
  day DATE COMMENT 'the UTC day that it counts under',
  input_tokens BIGINT COMMENT 'of text models; cached ones not among them',
  cached_input_tokens BIGINT COMMENT 'of text models',
  output_tokens BIGINT COMMENT 'of text models',
  audio_seconds DOUBLE COMMENT 'of speech models',
  reserved_at TIMESTAMP_NTZ(3) COMMENT 'when the request was sent',
  settled_at TIMESTAMP_NTZ(3) COMMENT 'when its price was known',
  dt VARCHAR NOT NULL COMMENT 'UTC day of the partition, `YYYY-MM-DD`'
)
CLUSTER BY (project, dt)
DATA_RETENTION_TIME_IN_DAYS = 0;

CREATE TRANSIENT TABLE IF NOT EXISTS effects (
  project VARCHAR NOT NULL COMMENT 'the project it belongs to',
  unit_id VARCHAR NOT NULL COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  load_id BIGINT NOT NULL COMMENT 'the load that wrote the row; later loads have greater ones',
  deleted BOOLEAN NOT NULL COMMENT 'the unit is no more, or no longer in this partition',
  updated_at TIMESTAMP_NTZ(3) COMMENT 'when the row was read from the database',
  effect_key VARCHAR NOT NULL COMMENT 'SHA-256 over project, call, effect and target',
  call_id VARCHAR COMMENT 'the call that it came of',
  version INTEGER COMMENT 'the call''s version',
  effect VARCHAR COMMENT 'what was done, as in `create_lead`',
  target VARCHAR COMMENT 'the system that it was done to',
  class VARCHAR COMMENT 'what is promised: `upsert_by_key`, `read_before_write` or `no_key`',
  state VARCHAR COMMENT '`planned`, `done` or `unknown`',
  lead_id VARCHAR COMMENT 'of the record that was written',
  account_id VARCHAR COMMENT 'of the record that was written',
  contact_id VARCHAR COMMENT 'of the record that was written',
  opportunity_id VARCHAR COMMENT 'of the record that was written',
  task_id VARCHAR COMMENT 'of the record that was written',
  note_id VARCHAR COMMENT 'of the note that was written',
  planned_at TIMESTAMP_NTZ(3) COMMENT 'when it was written down that it is to be done',
  done_at TIMESTAMP_NTZ(3) COMMENT 'when it was done',
  dt VARCHAR NOT NULL COMMENT 'UTC day of the partition, `YYYY-MM-DD`'
)
CLUSTER BY (project, dt)
DATA_RETENTION_TIME_IN_DAYS = 0;

CREATE TRANSIENT TABLE IF NOT EXISTS events (
  project VARCHAR NOT NULL COMMENT 'the project it belongs to',
  unit_id VARCHAR NOT NULL COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  load_id BIGINT NOT NULL COMMENT 'the load that wrote the row; later loads have greater ones',
  deleted BOOLEAN NOT NULL COMMENT 'the unit is no more, or no longer in this partition',
  updated_at TIMESTAMP_NTZ(3) COMMENT 'when the row was read from the database',
  event_id VARCHAR NOT NULL COMMENT 'unique in its project',
  kind VARCHAR COMMENT '`tracking`: told to other systems; `pattern`: something the customer said, from a closed list; `issue`: what the analysis found wrong',
  name VARCHAR COMMENT 'the tracking event''s name; the pattern''s kind, as in `objection_price`; the issue''s text in lower case',
  call_id VARCHAR COMMENT 'the call, once it is known which',
  voice_call_id VARCHAR COMMENT 'of tracking events: what they are about',
  source VARCHAR COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  direction VARCHAR COMMENT '`inbound` or `outbound`',
  call_started_at TIMESTAMP_NTZ(3) COMMENT 'when the call started; for a voice call that never did, when it was requested',
  queue VARCHAR COMMENT 'the queue that it came in by',
  team VARCHAR COMMENT 'the agent''s team, by the project''s settings',
  agent VARCHAR COMMENT 'the person, or the voice agent, that spoke for the company',
  category VARCHAR COMMENT 'the call''s category, by the project''s settings',
  occurred_at TIMESTAMP_NTZ(3) COMMENT 'of tracking events: when it happened; of patterns and issues: when the call started',
  position_ms BIGINT COMMENT 'of patterns: where in the call it was said',
  state VARCHAR COMMENT 'of tracking events: how far their delivery is',
  delivered_at TIMESTAMP_NTZ(3) COMMENT 'of tracking events',
  dt VARCHAR NOT NULL COMMENT 'UTC day of the partition, `YYYY-MM-DD`'
)
CLUSTER BY (project, dt)
DATA_RETENTION_TIME_IN_DAYS = 0;
