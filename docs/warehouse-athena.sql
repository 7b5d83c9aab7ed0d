-- The loader makes these tables in Glue by itself; run them where it may not. Put your own for <database> and <bucket>.

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_calls_json` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `call_id` string COMMENT 'the source''s ID of the call; the voice call''s own (`vc_…`) while it was not handed over',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `duration_ms` bigint COMMENT 'length of the recording or, where there is none, as the source gives it',
  `connected` boolean COMMENT 'whether somebody was reached; null while that is not known',
  `outcome` string COMMENT '`connected`, `abandoned`, `voicemail`, `busy`, `no_answer` or `failed`; null while that is not known',
  `state` string COMMENT 'where it stands in the pipeline; null for a voice call that was not handed over',
  `result` string COMMENT 'what it amounted to: `processed`, `abandoned`, `no_recording` or `too_short`',
  `version` int COMMENT 'how often it was processed',
  `has_recording` boolean COMMENT 'its recording is stored',
  `has_transcript` boolean COMMENT 'its transcript is stored',
  `has_analysis` boolean COMMENT 'it was analysed',
  `language` string COMMENT 'of the transcript',
  `rubric` string COMMENT 'what it was graded by, as in `service-call@1`',
  `score_percent` int COMMENT '0 to 100, as people have left it',
  `passed` boolean COMMENT 'whether the score reaches the pass mark',
  `reviewed` boolean COMMENT 'whether a person has looked at its analysis',
  `sentiment` string COMMENT '`positive`, `neutral` or `negative`',
  `crm_scenario` string COMMENT 'what the decision table made of it',
  `crm_action` string COMMENT 'what was done in the CRM: `none`, `create_lead`, `convert_lead`, `update_account`, `transfer`, or `note_duplicate` where the lead was there already',
  `lead_id` string COMMENT 'the CRM''s ID of the lead that was made, converted or noted on',
  `account_id` string COMMENT 'the CRM''s ID of the account',
  `contact_id` string COMMENT 'the CRM''s ID of the contact',
  `opportunity_id` string COMMENT 'the CRM''s ID of the opportunity that came of it or, after `update_account`, was there before',
  `voice_call_id` string COMMENT 'the voice call that it was placed by',
  `voice_batch_id` string COMMENT 'the batch that brought the voice call',
  `voice_state` string COMMENT 'where the voice call stands',
  `disconnection_reason` string COMMENT 'why it ended, in the voice provider''s words',
  `requested_at` timestamp COMMENT 'when the voice call was asked for',
  `dialled_at` timestamp COMMENT 'when the voice provider took it',
  `cost_micro_usd` bigint COMMENT 'everything that was paid for it so far, in millionths of a US dollar',
  `processed_at` timestamp COMMENT 'when the pipeline was done with it'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://<bucket>/warehouse/calls/'
TBLPROPERTIES (
  'classification' = 'json',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse/calls/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_calls_parquet` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `call_id` string COMMENT 'the source''s ID of the call; the voice call''s own (`vc_…`) while it was not handed over',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `duration_ms` bigint COMMENT 'length of the recording or, where there is none, as the source gives it',
  `connected` boolean COMMENT 'whether somebody was reached; null while that is not known',
  `outcome` string COMMENT '`connected`, `abandoned`, `voicemail`, `busy`, `no_answer` or `failed`; null while that is not known',
  `state` string COMMENT 'where it stands in the pipeline; null for a voice call that was not handed over',
  `result` string COMMENT 'what it amounted to: `processed`, `abandoned`, `no_recording` or `too_short`',
  `version` int COMMENT 'how often it was processed',
  `has_recording` boolean COMMENT 'its recording is stored',
  `has_transcript` boolean COMMENT 'its transcript is stored',
  `has_analysis` boolean COMMENT 'it was analysed',
  `language` string COMMENT 'of the transcript',
  `rubric` string COMMENT 'what it was graded by, as in `service-call@1`',
  `score_percent` int COMMENT '0 to 100, as people have left it',
  `passed` boolean COMMENT 'whether the score reaches the pass mark',
  `reviewed` boolean COMMENT 'whether a person has looked at its analysis',
  `sentiment` string COMMENT '`positive`, `neutral` or `negative`',
  `crm_scenario` string COMMENT 'what the decision table made of it',
  `crm_action` string COMMENT 'what was done in the CRM: `none`, `create_lead`, `convert_lead`, `update_account`, `transfer`, or `note_duplicate` where the lead was there already',
  `lead_id` string COMMENT 'the CRM''s ID of the lead that was made, converted or noted on',
  `account_id` string COMMENT 'the CRM''s ID of the account',
  `contact_id` string COMMENT 'the CRM''s ID of the contact',
  `opportunity_id` string COMMENT 'the CRM''s ID of the opportunity that came of it or, after `update_account`, was there before',
  `voice_call_id` string COMMENT 'the voice call that it was placed by',
  `voice_batch_id` string COMMENT 'the batch that brought the voice call',
  `voice_state` string COMMENT 'where the voice call stands',
  `disconnection_reason` string COMMENT 'why it ended, in the voice provider''s words',
  `requested_at` timestamp COMMENT 'when the voice call was asked for',
  `dialled_at` timestamp COMMENT 'when the voice provider took it',
  `cost_micro_usd` bigint COMMENT 'everything that was paid for it so far, in millionths of a US dollar',
  `processed_at` timestamp COMMENT 'when the pipeline was done with it'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'
LOCATION 's3://<bucket>/warehouse-daily/calls/'
TBLPROPERTIES (
  'classification' = 'parquet',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse-daily/calls/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_answers_json` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `call_id` string COMMENT 'the call',
  `criterion` string COMMENT 'the question''s ID in its rubric',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `version` int COMMENT 'the call''s version that was graded',
  `rubric` string COMMENT 'as in `service-call@1`',
  `criterion_category` string COMMENT 'the question''s category in its rubric',
  `verdict` string COMMENT '`yes`, `no`, `not_applicable` or `not_evidenced`, as people have left it',
  `claimed` string COMMENT 'the model''s own answer, before its evidence was checked',
  `points` double COMMENT 'points reached',
  `out_of` double COMMENT 'points reachable: 0 where the question did not arise or counts for nothing',
  `quotes` int COMMENT 'quotes that stand in the transcript word for word',
  `reviewed` boolean COMMENT 'whether a person has confirmed or corrected it',
  `corrected` boolean COMMENT 'whether a person has answered otherwise',
  `advisory` boolean COMMENT 'counts for nothing in the score'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://<bucket>/warehouse/answers/'
TBLPROPERTIES (
  'classification' = 'json',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse/answers/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_answers_parquet` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `call_id` string COMMENT 'the call',
  `criterion` string COMMENT 'the question''s ID in its rubric',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `version` int COMMENT 'the call''s version that was graded',
  `rubric` string COMMENT 'as in `service-call@1`',
  `criterion_category` string COMMENT 'the question''s category in its rubric',
  `verdict` string COMMENT '`yes`, `no`, `not_applicable` or `not_evidenced`, as people have left it',
  `claimed` string COMMENT 'the model''s own answer, before its evidence was checked',
  `points` double COMMENT 'points reached',
  `out_of` double COMMENT 'points reachable: 0 where the question did not arise or counts for nothing',
  `quotes` int COMMENT 'quotes that stand in the transcript word for word',
  `reviewed` boolean COMMENT 'whether a person has confirmed or corrected it',
  `corrected` boolean COMMENT 'whether a person has answered otherwise',
  `advisory` boolean COMMENT 'counts for nothing in the score'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'
LOCATION 's3://<bucket>/warehouse-daily/answers/'
TBLPROPERTIES (
  'classification' = 'parquet',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse-daily/answers/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_costs_json` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `cost_key` string COMMENT 'SHA-256 over what was asked for, and which try it was',
  `call_id` string COMMENT 'the call that it was paid for, as in `calls`',
  `version` int COMMENT 'the call''s version',
  `step` string COMMENT 'the step of the call, `preset_test`, `rescore`, or `voice`: the call itself',
  `kind` string COMMENT '`llm`, `stt`, `diarization` or another kind of request',
  `provider` string COMMENT 'who was paid',
  `model` string COMMENT 'for what',
  `state` string COMMENT '`reserved`: the answer never came, it may still have been billed; `settled`',
  `micro_usd` bigint COMMENT 'millionths of a US dollar; of a reserved one, what was set aside',
  `day` date COMMENT 'the UTC day that it counts under',
  `input_tokens` bigint COMMENT 'of text models; cached ones not among them',
  `cached_input_tokens` bigint COMMENT 'of text models',
  `output_tokens` bigint COMMENT 'of text models',
  `audio_seconds` double COMMENT 'of speech models',
  `reserved_at` timestamp COMMENT 'when the request was sent',
  `settled_at` timestamp COMMENT 'when its price was known'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://<bucket>/warehouse/costs/'
TBLPROPERTIES (
  'classification' = 'json',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse/costs/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_costs_parquet` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `cost_key` string COMMENT 'SHA-256 over what was asked for, and which try it was',
  `call_id` string COMMENT 'the call that it was paid for, as in `calls`',
  `version` int COMMENT 'the call''s version',
  `step` string COMMENT 'the step of the call, `preset_test`, `rescore`, or `voice`: the call itself',
  `kind` string COMMENT '`llm`, `stt`, `diarization` or another kind of request',
  `provider` string COMMENT 'who was paid',
  `model` string COMMENT 'for what',
  `state` string COMMENT '`reserved`: the answer never came, it may still have been billed; `settled`',
  `micro_usd` bigint COMMENT 'millionths of a US dollar; of a reserved one, what was set aside',
  `day` date COMMENT 'the UTC day that it counts under',
  `input_tokens` bigint COMMENT 'of text models; cached ones not among them',
  `cached_input_tokens` bigint COMMENT 'of text models',
  `output_tokens` bigint COMMENT 'of text models',
  `audio_seconds` double COMMENT 'of speech models',
  `reserved_at` timestamp COMMENT 'when the request was sent',
  `settled_at` timestamp COMMENT 'when its price was known'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'
LOCATION 's3://<bucket>/warehouse-daily/costs/'
TBLPROPERTIES (
  'classification' = 'parquet',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse-daily/costs/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_effects_json` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `effect_key` string COMMENT 'SHA-256 over project, call, effect and target',
  `call_id` string COMMENT 'the call that it came of',
  `version` int COMMENT 'the call''s version',
  `effect` string COMMENT 'what was done, as in `create_lead`',
  `target` string COMMENT 'the system that it was done to',
  `class` string COMMENT 'what is promised: `upsert_by_key`, `read_before_write` or `no_key`',
  `state` string COMMENT '`planned`, `done` or `unknown`',
  `lead_id` string COMMENT 'of the record that was written',
  `account_id` string COMMENT 'of the record that was written',
  `contact_id` string COMMENT 'of the record that was written',
  `opportunity_id` string COMMENT 'of the record that was written',
  `task_id` string COMMENT 'of the record that was written',
  `note_id` string COMMENT 'of the note that was written',
  `planned_at` timestamp COMMENT 'when it was written down that it is to be done',
  `done_at` timestamp COMMENT 'when it was done'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://<bucket>/warehouse/effects/'
TBLPROPERTIES (
  'classification' = 'json',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse/effects/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_effects_parquet` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `effect_key` string COMMENT 'SHA-256 over project, call, effect and target',
  `call_id` string COMMENT 'the call that it came of',
  `version` int COMMENT 'the call''s version',
  `effect` string COMMENT 'what was done, as in `create_lead`',
  `target` string COMMENT 'the system that it was done to',
  `class` string COMMENT 'what is promised: `upsert_by_key`, `read_before_write` or `no_key`',
  `state` string COMMENT '`planned`, `done` or `unknown`',
  `lead_id` string COMMENT 'of the record that was written',
  `account_id` string COMMENT 'of the record that was written',
  `contact_id` string COMMENT 'of the record that was written',
  `opportunity_id` string COMMENT 'of the record that was written',
  `task_id` string COMMENT 'of the record that was written',
  `note_id` string COMMENT 'of the note that was written',
  `planned_at` timestamp COMMENT 'when it was written down that it is to be done',
  `done_at` timestamp COMMENT 'when it was done'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'
LOCATION 's3://<bucket>/warehouse-daily/effects/'
TBLPROPERTIES (
  'classification' = 'parquet',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse-daily/effects/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_events_json` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `event_id` string COMMENT 'unique in its project',
  `kind` string COMMENT '`tracking`: told to other systems; `pattern`: something the customer said, from a closed list; `issue`: what the analysis found wrong',
  `name` string COMMENT 'the tracking event''s name; the pattern''s kind, as in `objection_price`; the issue''s text in lower case',
  `call_id` string COMMENT 'the call, once it is known which',
  `voice_call_id` string COMMENT 'of tracking events: what they are about',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `occurred_at` timestamp COMMENT 'of tracking events: when it happened; of patterns and issues: when the call started',
  `position_ms` bigint COMMENT 'of patterns: where in the call it was said',
  `state` string COMMENT 'of tracking events: how far their delivery is',
  `delivered_at` timestamp COMMENT 'of tracking events'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://<bucket>/warehouse/events/'
TBLPROPERTIES (
  'classification' = 'json',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse/events/dt=${dt}/'
);

CREATE EXTERNAL TABLE IF NOT EXISTS `<database>`.`aftercall_events_parquet` (
  `project` string COMMENT 'the project it belongs to',
  `unit_id` string COMMENT 'what was loaded as a whole: of the rows of one unit, those of the newest load count',
  `load_id` bigint COMMENT 'the load that wrote the row; later loads have greater ones',
  `deleted` boolean COMMENT 'the unit is no more, or no longer in this partition',
  `updated_at` timestamp COMMENT 'when the row was read from the database',
  `event_id` string COMMENT 'unique in its project',
  `kind` string COMMENT '`tracking`: told to other systems; `pattern`: something the customer said, from a closed list; `issue`: what the analysis found wrong',
  `name` string COMMENT 'the tracking event''s name; the pattern''s kind, as in `objection_price`; the issue''s text in lower case',
  `call_id` string COMMENT 'the call, once it is known which',
  `voice_call_id` string COMMENT 'of tracking events: what they are about',
  `source` string COMMENT 'where the call came from; `voice` for a voice call that was not handed over to be processed',
  `direction` string COMMENT '`inbound` or `outbound`',
  `call_started_at` timestamp COMMENT 'when the call started; for a voice call that never did, when it was requested',
  `queue` string COMMENT 'the queue that it came in by',
  `team` string COMMENT 'the agent''s team, by the project''s settings',
  `agent` string COMMENT 'the person, or the voice agent, that spoke for the company',
  `category` string COMMENT 'the call''s category, by the project''s settings',
  `occurred_at` timestamp COMMENT 'of tracking events: when it happened; of patterns and issues: when the call started',
  `position_ms` bigint COMMENT 'of patterns: where in the call it was said',
  `state` string COMMENT 'of tracking events: how far their delivery is',
  `delivered_at` timestamp COMMENT 'of tracking events'
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'
STORED AS INPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat'
LOCATION 's3://<bucket>/warehouse-daily/events/'
TBLPROPERTIES (
  'classification' = 'parquet',
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2000-01-01,NOW+2DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://<bucket>/warehouse-daily/events/dt=${dt}/'
);
