import type { Made } from '../adapters/connectors/of-project.ts';
import type { CallNotes, NoteTarget } from '../adapters/notes/notes.ts';
import type { CallDetails } from '../domain/call.ts';
import type { CrmRecords, CrmResult } from '../domain/crm-rules.ts';
import { isGivenSource } from '../domain/given.ts';
import { gradedCallNote } from '../domain/announcements.ts';
import type { Effects } from '../db/effects.ts';
import type { PublishedCall } from '../domain/announcements.ts';

/** The CRMs that take a project's notes. */
export type CallNotesFor = (project: string) => Promise<Made<CallNotes>>;

export interface NotePlace {
  crm: 'amocrm' | 'salesforce';
  target: NoteTarget;
}

/** Where a call's score is noted: on the card that it came from, and else on the record that the CRM step wrote. */
export const notePlace = (details: CallDetails, crm: CrmResult | null): NotePlace | undefined => {
  if (details.card && (details.source === 'amocrm' || isGivenSource(details.source))) return { crm: 'amocrm', target: details.card };
  const target = crm ? recordOf(crm.records) : undefined;
  return target && { crm: 'salesforce', target };
};

/** What people work on goes first: a lead that was converted is not looked at any more. */
const recordOf = ({ opportunityId, accountId, leadId, contactId }: CrmRecords): NoteTarget | undefined => {
  if (opportunityId) return { kind: 'opportunity', id: opportunityId };
  if (accountId) return { kind: 'company', id: accountId };
  if (leadId) return { kind: 'lead', id: leadId };
  return contactId ? { kind: 'contact', id: contactId } : undefined;
};

/**
 * Notes score, summary and the link to the report in the CRM, once per call.
 *
 * Class `read_before_write`: found again by our marker (amoCRM) or our external ID (Salesforce). A later run, or a
 * person's correction, changes the note where it stands, also when the CRM step has moved on to another record.
 */
export const putCallNote = async (
  { effects, callNotesFor }: { effects: Effects; callNotesFor: CallNotesFor },
  { call, details, analysis, crm, reportUrl }: PublishedCall,
  cancelled: AbortSignal,
): Promise<void> => {
  const place = analysis && notePlace(details, crm);
  if (!place) return;
  const notes = await callNotesFor(call.project);
  // Whoever hands a call in may name a card of a CRM that the project has not connected.
  if (isGivenSource(details.source) && !notes.find(place.crm)) return;
  const effect = { ...call, effect: 'note', target: place.crm, class: 'read_before_write' as const };
  const planned = await effects.plan(effect, { ...place.target });
  if (settledByPerson(planned.receipt)) return;
  const target = planned.intent as unknown as NoteTarget;
  const note = { ...gradedCallNote({ analysis, reportUrl }), direction: details.direction, date: new Date(details.startedAtMs).toISOString().slice(0, 10) };
  const { noteId } = await notes.get(place.crm).put(planned.key, target, note, cancelled);
  await effects.done(effect, { noteId, kind: target.kind, recordId: target.id, version: call.version });
};

const settledByPerson = (receipt: Record<string, unknown> | null): boolean => typeof receipt?.['settledBy'] === 'string';
