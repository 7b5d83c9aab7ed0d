import { expect, it } from '@jest/globals';
import type { CrmResult } from '../../src/domain/crm-rules.ts';
import { callUnits, effectUnit, fileRows } from '../../src/domain/warehouse-rows.ts';
import { details } from '../support/warehouse.ts';

it('gives no engine the half of a character, which it would refuse a whole file for', () => {
  const unit = effectUnit({ effectKey: 'k', callId: 'call', version: 1, effect: 'note', target: 'cut \ud83d short', class: 'no_key', state: 'done', receipt: null, plannedAt: new Date(0), doneAt: null });
  const [row] = fileRows(unit, { project: 'default', loadId: 1, readAt: new Date(0) });
  expect(row).toMatchObject({ target: 'cut \ufffd short', effect_key: 'k', load_id: 1, deleted: false, done_at: null });
});

it('tells a lead that was made from one that the CRM had already', () => {
  const actionOf = (crm: CrmResult | undefined) => {
    const rows = callUnits({ callId: 'c', unitId: 'call/c', source: 'webex', details: details('c'), category: undefined, team: undefined, state: 'completed', result: 'processed', version: 1, endedAt: null, durationMs: 1, hasRecording: true, hasTranscript: true, language: 'en', graded: undefined, crm, voice: undefined, costMicroUsd: 0 })[0]!.rows;
    return [rows[0]!['crm_action'], rows[0]!['lead_id']];
  };
  const decided: Omit<CrmResult, 'records'> = { scenario: 'good_lead', action: 'create_lead', reasons: [] };
  expect(actionOf({ ...decided, records: { leadId: '00Q1' } })).toEqual(['create_lead', '00Q1']);
  expect(actionOf({ ...decided, records: { leadId: '00Q1', taskId: '00T1', duplicateOf: '00Q1' } })).toEqual(['note_duplicate', '00Q1']);
  expect(actionOf(undefined)).toEqual([null, null]);
});
