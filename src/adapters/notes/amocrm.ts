import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { CreatedSchema, type Note, NotesSchema } from '../amocrm/notes.schema.ts';
import type { AmoCrmSession } from '../amocrm/session.ts';
import type { CallNote, CallNotes, NoteTarget } from './notes.ts';

const LISTS = { lead: 'leads', contact: 'contacts', company: 'companies' } as const;

/** amoCRM does not say how much a note holds. Longer texts are for the report that the note leads to. */
const LONGEST_TEXT = 10_000;
const PAGE_SIZE = 250;
/** Notes that people and programs may have put on a card above ours: 10,000. */
const MOST_PAGES = 40;
const SAFE_KEY = /^[A-Za-z0-9_-]{1,100}$/;

/**
 * Text notes, found again by a marker in their last line: amoCRM has no external IDs.
 *
 * The card is read before it is written on, and again at once when the answer to writing is lost.
 */
export const createAmoCrmNotes = (session: AmoCrmSession): CallNotes => {
  const find = async (marker: string, list: string, target: NoteTarget, signal: AbortSignal): Promise<Note | undefined> => {
    let found: Note | undefined;
    for (let page = 1; page <= MOST_PAGES; page += 1) {
      const answer = await session.ask({
        doing: 'Looking for the note',
        path: `/api/v4/${list}/${target.id}/notes`,
        query: [['filter[note_type][]', 'common'], ['order[id]', 'desc'], ['limit', String(PAGE_SIZE)], ['page', String(page)]],
        signal,
      });
      if (answer === undefined) return found;
      const read = NotesSchema.safeParse(answer);
      if (!read.success) throw new AftercallError('UPSTREAM_NONSENSE', 'Looking for the note failed: amoCRM answered in an unknown shape.', { advice: 'Check AMOCRM_BASE_URL; if it is right, the API has changed.' });
      const { notes } = read.data._embedded;
      found = notes.findLast(({ params }) => params.text?.includes(marker)) ?? found;
      if (found || (notes.length < PAGE_SIZE && !read.data._links?.next)) return found;
    }
    throw new AftercallError('CRM_REJECTED', `The note was not written: the card has more than ${MOST_PAGES * PAGE_SIZE} notes, and ours may be among them.`, { advice: 'Note it by hand, mark the note as done and retry.', outcome: 'refused' });
  };

  const create = async (key: string, text: string, list: string, target: NoteTarget, signal: AbortSignal): Promise<string> => {
    const answer = CreatedSchema.safeParse(
      await session.ask({ doing: 'Noting the call', path: `/api/v4/${list}/notes`, method: 'POST', body: [{ entity_id: Number(target.id), note_type: 'common', params: { text }, request_id: key }], signal }),
    );
    if (answer.success) return String(answer.data._embedded.notes[0]!.id);
    throw new AftercallError('UPSTREAM_NONSENSE', 'Noting the call failed: amoCRM answered without the note.', { advice: 'It is looked for at the next try.' });
  };

  return {
    name: 'amocrm',

    async remove(key, target, signal) {
      const list = target.kind === 'opportunity' ? undefined : LISTS[target.kind];
      const marker = markerOf(key);
      const found = list && (await find(marker, list, target, signal));
      if (!found) return;
      await session.ask({ doing: 'Emptying the note', path: `/api/v4/${list}/notes/${found.id}`, method: 'PATCH', body: { note_type: 'common', params: { text: `Erased\n${marker}` } }, signal });
    },

    async put(key, target, note, signal) {
      const list = target.kind === 'opportunity' ? undefined : LISTS[target.kind];
      if (!list || !/^\d{1,15}$/.test(target.id) || !SAFE_KEY.test(key)) {
        throw new AftercallError('CRM_REJECTED', `amoCRM has no notes on ${target.kind} "${target.id}" under the key "${key}".`, { advice: 'This is a defect: a card is a lead, a contact or a company with a number.', outcome: 'refused' });
      }
      const marker = markerOf(key);
      const text = textOf(note, marker);
      try {
        const found = await find(marker, list, target, signal);
        if (!found) return { noteId: await create(key, text, list, target, signal).catch(async (error: unknown) => {
          if (!isLost(error)) throw error;
          // Perhaps it was written all the same. If this look fails too, the next try begins with it.
          const made = await find(marker, list, target, signal).catch(() => undefined);
          if (made) return String(made.id);
          throw error;
        }) };
        if (oneLine(found.params.text ?? '') !== oneLine(text)) {
          await session.ask({ doing: 'Correcting the note', path: `/api/v4/${list}/notes/${found.id}`, method: 'PATCH', body: { note_type: 'common', params: { text } }, signal });
        }
        return { noteId: String(found.id) };
      } catch (error) {
        if (!isAftercallError(error) || (error.code !== 'NOT_FOUND' && error.code !== 'UPSTREAM_REJECTED')) throw error;
        throw new AftercallError('CRM_REJECTED', error.message, { advice: 'The card was deleted or merged into another in amoCRM, or does not take the note. Mark the note as done and retry, or correct it there and retry.', outcome: 'refused', cause: error });
      }
    },
  };
};

/** Whether the request may have been carried out though it failed here. Gateways answer for those behind them. */
const isLost = (error: unknown): boolean => isAftercallError(error) && ['UPSTREAM_TIMEOUT', 'UPSTREAM_UNAVAILABLE', 'UPSTREAM_NONSENSE'].includes(error.code);

const markerOf = (key: string): string => `[aftercall ${key}]`;

const textOf = ({ subject, text }: CallNote, marker: string): string => `${`${subject}\n${text}`.slice(0, LONGEST_TEXT - marker.length - 1).trimEnd()}\n${marker}`;

/** Text comes back with other line ends than it was sent with. */
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();
