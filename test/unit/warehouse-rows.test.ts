import { expect, it } from '@jest/globals';
import { effectUnit, fileRows } from '../../src/domain/warehouse-rows.ts';

it('gives no engine the half of a character, which it would refuse a whole file for', () => {
  const unit = effectUnit({ effectKey: 'k', callId: 'call', version: 1, effect: 'note', target: 'cut \ud83d short', class: 'no_key', state: 'done', receipt: null, plannedAt: new Date(0), doneAt: null });
  const [row] = fileRows(unit, { project: 'default', loadId: 1, readAt: new Date(0) });
  expect(row).toMatchObject({ target: 'cut \ufffd short', effect_key: 'k', load_id: 1, deleted: false, done_at: null });
});
