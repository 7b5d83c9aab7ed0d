import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { trackingJsonSchema, TrackingEnvelopeSchema } from '../../src/adapters/tracking/tracking.schema.ts';
import { trackingKey } from '../../src/db/tracking.ts';
import { sequenceOf, TRACKING_EVENTS, TRACKING_SCHEMA_VERSION, type TrackedCall, type TrackingEnvelope, trackingEvent, type TrackingEventName } from '../../src/domain/tracking.ts';
import { aTrackedCall } from '../support/tracking.ts';

const AT = 1_800_000_000_000;
const call = aTrackedCall('vc_one');

/** As the queue makes it of a row. */
const envelope = (name: TrackingEventName, of: TrackedCall = call): TrackingEnvelope => {
  const event = trackingEvent(name, of, AT);
  return { schemaVersion: TRACKING_SCHEMA_VERSION, id: trackingKey(event), event: name, sequence: sequenceOf(name), project: event.project, subject: event.subject, occurredAt: new Date(event.occurredAtMs).toISOString(), properties: event.properties };
};
const fits = new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(readFileSync(new URL('../../docs/tracking.schema.json', import.meta.url), 'utf8')) as object);

describe('a tracking event', () => {
  it('says what happened to an answered call', () => {
    expect(trackingEvent('Call completed', call, AT)).toEqual({
      project: 'default',
      subject: 'vc_one',
      name: 'Call completed',
      occurredAtMs: AT,
      properties: {
        voiceCallId: 'vc_one',
        providerCallId: 'call_vc_one',
        direction: 'outbound',
        from: '+15550100100',
        to: '+6560000123',
        agentId: 'agent_1',
        batchId: null,
        metadata: { customer: 'c-17', vip: true },
        connected: true,
        outcome: 'connected',
        startedAt: '2027-01-15T08:00:05.000Z',
        endedAt: '2027-01-15T08:01:05.250Z',
        durationMs: 60_250,
        disconnectionReason: 'user_hangup',
        successful: true,
        sentiment: 'Positive',
        costCents: 12.5,
      },
    });
  });

  it.each(['busy', 'no_answer', 'failed'] as const)('of a call that ended as %s has neither start nor duration, whatever the provider says', (outcome) => {
    expect(trackingEvent('Call completed', { ...call, outcome }, AT).properties).toMatchObject({ connected: false, outcome, startedAt: null, durationMs: null, endedAt: '2027-01-15T08:01:05.250Z' });
  });

  it('of a call that we did not place goes by what the provider says', () => {
    const { request: _request, ...rest } = call;
    const taken = { ...rest, provider: { ...call.provider, fromNumber: '+15550100177', toNumber: '+15550100100', direction: 'inbound' as const } };
    expect(trackingEvent('Call started', taken, AT).properties).toMatchObject({ from: '+15550100177', to: '+15550100100', direction: 'inbound', agentId: 'agent_1', metadata: {} });
  });

  it('is made of the call alone: the same at every time, with the same key', () => {
    for (const name of TRACKING_EVENTS) expect(envelope(name)).toEqual(envelope(name));
  });

  it('has a key that differs by project, call and name, and cannot be made to meet another', () => {
    const key = (project: string, subject: string, name: TrackingEventName = 'Call started') => trackingKey({ project, subject, name });
    const keys = [key('a', 'b'), key('a', 'c'), key('b', 'b'), key('a', 'b', 'Call completed'), key('a","b', 'c'), key('a', 'b","c')];
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.every((each) => /^[0-9a-f]{64}$/.test(each))).toBe(true);
  });
});

describe('the schema of tracking events', () => {
  it('is published as it is', () => {
    expect(JSON.parse(readFileSync(new URL('../../docs/tracking.schema.json', import.meta.url), 'utf8'))).toEqual(trackingJsonSchema());
  });

  const sparse: TrackedCall = { project: 'default', voiceCallId: 'vc_two', provider: { providerCallId: 'p', status: 'error', direction: 'inbound' } };
  it.each(TRACKING_EVENTS.flatMap((name) => [[name, 'full', call] as const, [name, 'sparse', sparse] as const]))('takes %s of a %s call', (name, _what, of) => {
    expect(TrackingEnvelopeSchema.parse(envelope(name, of))).toEqual(envelope(name, of));
    expect([fits(envelope(name, of)), fits.errors]).toEqual([true, null]);
  });

  const spoilt: [string, (event: TrackingEnvelope) => object][] = [
    ['a field more', (event) => ({ ...event, extra: 1 })],
    ['a property more', (event) => ({ ...event, properties: { ...event.properties, extra: 1 } })],
    ['a property less', ({ properties: { metadata: _metadata, ...properties }, ...event }) => ({ ...event, properties })],
    ['another version', (event) => ({ ...event, schemaVersion: 2 })],
    ['another event’s properties', (event) => ({ ...event, event: 'Voice call initiated', sequence: 1 })],
    ['a place that is not its own', (event) => ({ ...event, sequence: 1 })],
    ['a time without a zone', (event) => ({ ...event, occurredAt: '2027-01-15T08:00:00.000' })],
    ['a name of its own', (event) => ({ ...event, event: 'Call ended' })],
  ];
  it.each(spoilt)('refuses an event with %s', (_what, spoil) => {
    const event = spoil(envelope('Call completed'));
    expect([TrackingEnvelopeSchema.safeParse(event).success, fits(event)]).toEqual([false, false]);
  });

  it('describes every property', () => {
    const undescribed: string[] = [];
    for (const event of (trackingJsonSchema() as { oneOf: { title: string; properties: { properties: { properties: Record<string, { description?: string; enum?: string[] }> } } }[] }).oneOf) {
      for (const [name, { description }] of Object.entries(event.properties.properties.properties)) if (!description) undescribed.push(`${event.title}: ${name}`);
    }
    expect(undescribed).toEqual([]);
  });

  it('is the one that the documentation tells of', () => {
    const text = readFileSync(new URL('../../docs/tracking.md', import.meta.url), 'utf8');
    const [example] = /```json\n([\s\S]*?)```/.exec(text)!.slice(1);
    const { id: _id, ...event } = JSON.parse(example!) as TrackingEnvelope;
    expect(TrackingEnvelopeSchema.safeParse({ ...event, id: '0'.repeat(64) }).error).toBeUndefined();
    const table = text.split('| property |')[1]!.split('\n\n')[0]!;
    expect(new Set([...table.matchAll(/^\| (`\w+`(?:, `\w+`)*) \|/gm)].flatMap(([, names]) => names!.replaceAll('`', '').split(', ')))).toEqual(new Set(Object.keys(event.properties)));
  });
});
