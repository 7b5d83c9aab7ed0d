import type { CallDetails, CrmCard } from '../../domain/call.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { type Note, NotesSchema, UsersSchema } from '../amocrm/notes.schema.ts';
import type { AmoCrmSession } from '../amocrm/session.ts';
import type { Guard } from '../http/guard.ts';
import { createBatcher } from './batcher.ts';
import { openDownload } from './download.ts';
import type { CallCursor, CallPage, CallSource, ListCalls, RecordingLink } from './source.ts';

/** The kinds of cards that calls are noted on, each a list of its own in the API, in the order in which they are read. */
const LISTS = { leads: 'lead', contacts: 'contact', companies: 'company' } as const satisfies Record<string, CrmCard['kind']>;
type List = keyof typeof LISTS;
const LIST_NAMES = Object.keys(LISTS) as List[];

/** The API's own maximum. */
const PAGE_SIZE = 250;
/** Pages that one second's notes may fill, as after a bulk import. */
const MOST_PAGES = 40;
/** A telephone system may enter a call late under its own time; a window begins this much earlier. */
const OVERLAP_MS = 3 * 3_600_000;
/** A note of no duration and without a recording may be about a call that goes on; after this it is about one that nobody took. */
const OPEN_MS = 15 * 60_000;
const LOOK_UP_WINDOW_MS = 50;
const USERS_FOR_MS = 10 * 60_000;

export interface AmoCrmSourceOptions {
  session: AmoCrmSession;
  /** What links in notes go through: whoever writes notes decides where they lead. */
  guard: Guard;
  timeoutMs: number;
  pageSize?: number;
  overlapMs?: number;
}

/**
 * amoCRM (Kommo): calls are notes on leads, contacts and companies, written there by a telephone system.
 *
 * A call's ID is its note's. A call that is noted on two cards is two calls to us: nothing in the API says
 * reliably that they are one.
 */
export const createAmoCrm = ({ session, guard, timeoutMs, pageSize = PAGE_SIZE, overlapMs = OVERLAP_MS }: AmoCrmSourceOptions): CallSource & Required<Pick<CallSource, 'findCall'>> => {
  const readNotes = async (list: List, query: [string, string][], doing: string, signal: AbortSignal): Promise<{ notes: Note[]; isLast: boolean }> => {
    const answer = await session.ask({ doing, path: `/api/v4/${list}/notes`, query: [...query, ['filter[note_type][]', 'call_in'], ['filter[note_type][]', 'call_out'], ['limit', String(pageSize)]], signal });
    if (answer === undefined) return { notes: [], isLast: true };
    const page = NotesSchema.safeParse(answer);
    if (!page.success) throw nonsense(doing, page.error.issues[0]);
    const { notes } = page.data._embedded;
    // The filter's word is not taken for it: what is no call must never be processed as one.
    return { notes: notes.filter(({ note_type: type }) => type === 'call_in' || type === 'call_out'), isLast: notes.length < pageSize && !page.data._links?.next };
  };

  /**
   * The notes of a list that were last changed from a second on: at least until a later second begins.
   *
   * A note that is edited while this reads moves to the end, and all behind it move up by one. With a page
   * that begins at a time nothing is missed by that. Only where one second fills more than a page do page
   * numbers have to be used, and then the same pages are read until they bring nothing new.
   */
  const readFrom = async (list: List, fromS: number, toS: number, signal: AbortSignal): Promise<{ notes: Note[]; isLast: boolean }> => {
    const found = new Map<number, Note>();
    const pass = async (): Promise<{ isLast: boolean; pages: number }> => {
      const seen = new Set<number>();
      for (let page = 1; page <= MOST_PAGES; page += 1) {
        // Whether its ends belong to it is not documented: asked for with a second to spare on both sides.
        const query: [string, string][] = [['filter[updated_at][from]', String(Math.max(0, fromS - 1))], ['filter[updated_at][to]', String(toS + 1)], ['order[updated_at]', 'asc'], ['page', String(page)]];
        const { notes, isLast } = await readNotes(list, query, 'Listing calls', signal);
        const isRepeated = notes.length > 0 && notes.every(({ id }) => seen.has(id));
        for (const note of notes) {
          seen.add(note.id);
          found.set(note.id, note);
        }
        if (isLast || notes.some(({ updated_at: at }) => at > fromS)) return { isLast, pages: page };
        if (isRepeated) break;
      }
      throw new AftercallError('SOURCE_PAGE_STUCK', `Listing calls cannot go on: amoCRM gave full pages of ${list}' notes and nothing changed after ${new Date(fromS * 1_000).toISOString()}.`, {
        advice: 'Either so many notes were changed in one second, or the API repeats a page. Run the window in smaller pieces around that time.',
      });
    };
    for (;;) {
      const before = found.size;
      const { isLast, pages } = await pass();
      if (pages === 1 || found.size === before) return { notes: [...found.values()], isLast };
    }
  };

  let users: { names: Promise<Map<number, string>>; atMs: number } | undefined;
  const readUsers = async (signal: AbortSignal): Promise<Map<number, string>> => {
    const names = new Map<number, string>();
    for (let page = 1; page <= MOST_PAGES; page += 1) {
      const answer = await session.ask({ doing: 'Listing users', path: '/api/v4/users', query: [['limit', String(PAGE_SIZE)], ['page', String(page)]], signal });
      const read = UsersSchema.safeParse(answer ?? { _embedded: { users: [] } });
      if (!read.success) throw nonsense('Listing users', read.error.issues[0]);
      for (const { id, name } of read.data._embedded.users) if (name) names.set(id, name);
      if (!read.data._links?.next || read.data._embedded.users.length === 0) break;
    }
    return names;
  };
  const namesOfUsers = (): Promise<Map<number, string>> => {
    if (users && Date.now() - users.atMs < USERS_FOR_MS) return users.names;
    // Shared by all who list calls meanwhile, so cancelled with none of them.
    const names = readUsers(AbortSignal.timeout(timeoutMs)).catch((error: unknown) => {
      // Only administrators may list users. Calls go on without their names.
      if (isAftercallError(error) && error.code === 'AUTH_FAILED') return new Map<number, string>();
      users = undefined;
      throw error;
    });
    users = { names, atMs: Date.now() };
    return names;
  };

  const toCalls = async (list: List, notes: Note[]): Promise<CallDetails[]> => {
    if (notes.length === 0) return [];
    const names = await namesOfUsers();
    return notes.map((note) => toCall(list, note, names));
  };

  const findNote = createBatcher<{ list: List; note: Note }>({
    windowMs: LOOK_UP_WINDOW_MS,
    maxKeys: 50,
    load: async (callIds, signal) => {
      const found = new Map<string, { list: List; note: Note }>();
      for (const list of LIST_NAMES) {
        const ids = callIds.flatMap((callId) => (parseCallId(callId)?.list === list ? parseCallId(callId)!.noteId : []));
        if (ids.length === 0) continue;
        const { notes } = await readNotes(list, ids.map((id) => ['filter[id][]', id]), 'Looking up the call', signal);
        for (const note of notes) found.set(callIdOf(list, note.id), { list, note });
      }
      return found;
    },
  });

  return {
    name: 'amocrm',
    listsBy: 'change',

    /** A page is what one list gives, and the beginning of the next when that was its end. Windows go by when a note was last changed: the API knows no other. */
    async listCalls({ fromMs, toMs, cursor, signal }: ListCalls): Promise<CallPage> {
      const startS = Math.floor((fromMs - overlapMs) / 1_000);
      // Exclusive, and amoCRM counts whole seconds.
      const endS = Math.ceil(toMs / 1_000) - 1;
      const calls: CallDetails[] = [];
      let seen = new Set(cursor?.seen);
      let fromS = cursor ? Math.floor(cursor.fromMs / 1_000) : startS;
      for (const list of LIST_NAMES.slice(LIST_NAMES.indexOf((cursor?.list ?? LIST_NAMES[0]) as List))) {
        const { notes, isLast } = await readFrom(list, fromS, endS, signal);
        const fresh = notes.filter((note) => note.updated_at >= fromS && note.updated_at <= endS && !seen.has(String(note.id)));
        calls.push(...(await toCalls(list, fresh)));
        if (!isLast) return { calls, next: nextCursor(list, notes) };
        seen = new Set();
        fromS = startS;
        if (calls.length >= pageSize && list !== LIST_NAMES.at(-1)) return { calls, next: { fromMs: startS * 1_000, seen: [], list: LIST_NAMES[LIST_NAMES.indexOf(list) + 1]! } };
      }
      return { calls };
    },

    async findCall(callId, signal) {
      const found = parseCallId(callId) && (await findNote(callId, signal));
      return found && (await toCalls(found.list, [found.note]))[0];
    },

    async findRecording(callId, signal): Promise<RecordingLink | undefined> {
      const note = parseCallId(callId) && (await findNote(callId, signal))?.note;
      return note?.params.link?.trim() ? toLink(callId, note) : undefined;
    },

    openRecording: (link, { offset, signal }) =>
      openDownload({
        link,
        offset,
        signal,
        guard,
        timeoutMs,
        refused: { why: 'The telephone system does not give it out under this link, or not yet.', advice: 'It is looked up and tried again. If it stays, open the link of the call in amoCRM by hand.' },
      }),
  };
};

/** Of a note, as a webhook names it. */
export const callIdOf = (list: List, noteId: number | string): string => `amo-${LISTS[list]}-${noteId}`;

const parseCallId = (callId: string): { list: List; noteId: string } | undefined => {
  const [, kind, noteId] = /^amo-(lead|contact|company)-(\d{1,15})$/.exec(callId) ?? [];
  return noteId ? { list: LIST_NAMES.find((name) => LISTS[name] === kind)!, noteId } : undefined;
};

/** What lies before its start cannot come again; what lies at it will. */
const nextCursor = (list: List, notes: Note[]): CallCursor => {
  const last = Math.max(...notes.map(({ updated_at: at }) => at));
  return { list, fromMs: last * 1_000, seen: notes.filter(({ updated_at: at }) => at === last).map(({ id }) => String(id)) };
};

const toCall = (list: List, note: Note, names: Map<number, string>): CallDetails => {
  const { phone, link, duration = 0, call_responsible: responsible } = note.params;
  const hasLink = Boolean(link?.trim());
  const direction = note.note_type === 'call_in' ? 'inbound' : 'outbound';
  // Who took the call, by name or by number; else whose card it is.
  const agentName = (responsible && (names.get(Number(responsible)) ?? (/^\d+$/.test(responsible) ? undefined : responsible))) || names.get(note.responsible_user_id ?? 0);
  return {
    source: 'amocrm',
    callId: callIdOf(list, note.id),
    status: hasLink || duration > 0 ? 'completed' : Date.now() - note.updated_at * 1_000 < OPEN_MS ? 'open' : 'abandoned',
    direction,
    startedAtMs: note.created_at * 1_000,
    updatedAtMs: note.updated_at * 1_000,
    card: { kind: LISTS[list], id: String(note.entity_id) },
    ...(phone ? { [direction === 'inbound' ? 'originPhone' : 'destinationPhone']: phone.slice(0, 200) } : {}),
    ...(agentName ? { agentName: agentName.slice(0, 500) } : {}),
    // Without a link there may come one yet.
    ...(hasLink ? { captureRequested: true } : {}),
    ...(duration > 0 ? { durationMs: duration * 1_000 } : {}),
  };
};

const toLink = (callId: string, { params: { link, duration = 0 }, created_at: createdS }: Note): RecordingLink => {
  const url = URL.parse(link!.trim());
  if (!url || !isWebAddress(url)) {
    throw new AftercallError('RECORDING_UNUSABLE', `The recording of call ${callId} cannot be fetched: its link is no http(s) address without a password in it.`, {
      advice: 'Correct the telephone system that writes the calls, or put a usable link into the note, then retry.',
      outcome: 'refused',
    });
  }
  return {
    recordingId: callId,
    fileName: (url.pathname.split('/').at(-1) || 'recording').slice(0, 200),
    url: url.href,
    ...(duration > 0 ? { startedAtMs: createdS * 1_000, stoppedAtMs: (createdS + duration) * 1_000 } : {}),
  };
};

/** Whether a recording could be asked for there. A name and password in it would travel with each request, and stand in messages. */
const isWebAddress = ({ protocol, username, password }: URL): boolean => /^https?:$/.test(protocol) && username === '' && password === '';

const nonsense = (doing: string, issue: { path: PropertyKey[]; message: string } | undefined): AftercallError =>
  new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: amoCRM answered in an unknown shape (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`, {
    advice: 'Check AMOCRM_BASE_URL; if it is right, the API has changed.',
  });
