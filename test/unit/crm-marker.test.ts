import { expect, it } from '@jest/globals';
import { type CrmMarker, markerOwner, markerText, parseMarker } from '../../src/domain/crm-marker.ts';

const marker: CrmMarker = { owner: markerOwner({ project: 'default', callId: 'c1' }), state: 'decided', decision: { scenario: 'good_lead', action: 'create_lead', reasons: ['r'], facts: [] }, decidedAt: '2026-11-20T10:00:00.000Z' };

it('reads back what it wrote', () => {
  expect(parseMarker(markerText(marker))).toEqual(marker);
  expect(parseMarker(markerText({ ...marker, state: 'done', records: { leadId: 'x' }, doneAt: marker.decidedAt }))).toMatchObject({ state: 'done', records: { leadId: 'x' } });
});

it.each([
  '',
  'processed',
  'null',
  '7',
  '[]',
  '{}',
  '{"owner":"default/c1"}',
  JSON.stringify({ ...marker, state: 'else' }),
  JSON.stringify({ ...marker, owner: '' }),
  JSON.stringify({ ...marker, decision: null }),
  JSON.stringify({ ...marker, decision: { scenario: 'good_lead', action: 'create_lead' } }),
  markerText(marker).slice(0, 40),
])('takes %j for no marker of its own', (text) => {
  expect(parseMarker(text)).toBeUndefined();
});
