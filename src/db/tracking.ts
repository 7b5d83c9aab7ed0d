import { createHash } from 'node:crypto';
import type { Transaction } from 'kysely';
import { TRACKING_SCHEMA_VERSION, type TrackingEvent } from '../domain/tracking.ts';
import { json } from './database.ts';
import type { Schema } from './schema.ts';

/** The key of an event: the same however often it is written down or sent. */
export const trackingKey = ({ project, subject, name }: Pick<TrackingEvent, 'project' | 'subject' | 'name'>): string =>
  createHash('sha256').update(JSON.stringify([project, subject, name])).digest('hex');

/**
 * Writes an event down, in the transaction that also writes the state it reports: there is never one without the
 * other. An event that is there already stays as it was first told.
 *
 * Hazard: events of one subject go out in the order in which they are written, so the transaction must hold the
 * subject's own row (by an insert, an update or `for update`) before it appends.
 */
export const append = async (tx: Transaction<Schema>, event: TrackingEvent): Promise<void> => {
  await tx
    .insertInto('tracking_events')
    .values({
      project: event.project,
      id: trackingKey(event),
      name: event.name,
      subject: event.subject,
      schema_version: TRACKING_SCHEMA_VERSION,
      occurred_at: new Date(event.occurredAtMs),
      properties: json(event.properties),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
};
