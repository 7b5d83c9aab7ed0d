import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseAmoCrmForm } from '../../src/api/amocrm-webhook.ts';

/** As the documentation of amoCRM shows it. */
const BODY =
  'account[id]=123&account[subdomain]=acme&leads[note][0][note][id]=55&leads[note][0][note][note_type]=10&leads[note][0][note][element_type]=2' +
  '&leads[note][0][note][element_id]=777&leads[note][0][note][date_create]=2026-11-21 10:00:00&leads[note][0][note][created_by]=1' +
  '&leads[note][0][note][text]={"UNIQ":"abc","LINK":"https://pbx.example/1.mp3","PHONE":"+79000000000","DURATION":61,"SRC":"asterisk"}';

describe("the body of amoCRM's webhook", () => {
  it('names its account and the notes of calls, and keeps nothing else', () => {
    expect(parseAmoCrmForm(BODY)).toEqual({ accountId: '123', subdomain: 'acme', events: [{ source: 'amocrm', type: 'note', eventId: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown, body: { callId: 'amo-lead-55' } }] });
  });

  it('can name several, of several kinds of cards', () => {
    const body = 'contacts[note][0][note][id]=1&contacts[note][0][note][note_type]=11&companies[note][3][note][id]=2&companies[note][3][note][note_type]=10&leads[note][0][note][id]=3&leads[note][0][note][note_type]=4&leads[add][0][id]=9';
    expect(parseAmoCrmForm(body).events.map((event) => event.body)).toEqual([{ callId: 'amo-contact-1' }, { callId: 'amo-company-2' }]);
  });

  it('is the same event when it comes again in another order, and another when the note has changed', () => {
    const idOf = (body: string): string => parseAmoCrmForm(body).events[0]!.eventId;
    expect(idOf(BODY.split('&').toReversed().join('&'))).toBe(idOf(BODY));
    expect(idOf(BODY.replace('61', '62'))).not.toBe(idOf(BODY));
  });

  it('can be anything, and is read in bounded time without touching what all objects share', () => {
    const part = fc.oneof(fc.string(), fc.constantFrom('leads', 'note', '[', ']', '[note]', '[0]', '[id]', '=', '&', '__proto__', 'constructor', 'prototype', 'account', '10', '%', '%5B', '+'));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
        const { events } = parseAmoCrmForm(parts.join(''));
        return events.every(({ body, eventId }) => /^amo-(lead|contact|company)-\d{1,15}$/.test(String(body['callId'])) && eventId.length === 64) && Object.keys(Object.prototype).length === 0;
      }),
      { numRuns: 500 },
    );
    const began = Date.now();
    parseAmoCrmForm(`leads${'[note]'.repeat(40_000)}=1&${'a=1&'.repeat(60_000)}`);
    expect(Date.now() - began).toBeLessThan(1_000);
  });
});
