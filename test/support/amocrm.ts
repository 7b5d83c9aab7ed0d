import { AMOCRM_CLIENT } from '../../sandbox/amocrm/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import type { AmoCrmConfig } from '../../src/config.ts';

/** The settings of an installation whose amoCRM is at an address. */
export const amoCrmConfigAt = (url: string, more: Partial<AmoCrmConfig> = {}): AmoCrmConfig => ({
  AMOCRM_BASE_URL: url,
  AMOCRM_CLIENT_ID: AMOCRM_CLIENT.clientId,
  AMOCRM_CLIENT_SECRET: AMOCRM_CLIENT.clientSecret,
  AMOCRM_REFRESH_TOKEN: AMOCRM_CLIENT.refreshToken,
  AMOCRM_REDIRECT_URI: AMOCRM_CLIENT.redirectUri,
  AMOCRM_ACCOUNT_ID: undefined,
  AMOCRM_REQUESTS_PER_SECOND: 7,
  OUTBOUND_ALLOW: undefined,
  UPSTREAM_TIMEOUT: 10_000,
  OUTBOUND_ONLY: undefined,
  ...more,
});

const tell = (server: SandboxServer, path: string, body: object, method = 'POST'): Promise<Response> =>
  fetch(`${server.url}${path}`, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

export interface NewNotes {
  list: 'leads' | 'contacts' | 'companies';
  entityId?: number;
  noteType?: 'call_in' | 'call_out' | 'common';
  params?: Record<string, unknown>;
  /** Unix seconds. */
  createdAt?: number;
  updatedAt?: number;
  count?: number;
  /** The sample whose recording they lead to. */
  recordingOf?: string;
  emptyLooks?: number;
  /** Sends webhooks about them. */
  announce?: boolean;
}

/** Adds notes as a telephone system would. @returns their IDs */
export const addNotes = async (server: SandboxServer, notes: NewNotes): Promise<number[]> => ((await (await tell(server, '/_sandbox-notes', notes)).json()) as { ids: number[] }).ids;

export const changeNote = (server: SandboxServer, id: number, change: object): Promise<Response> => tell(server, `/_sandbox-notes/${id}`, change, 'PATCH');
export const deleteNote = (server: SandboxServer, id: number): Promise<Response> => tell(server, `/_sandbox-notes/${id}`, {}, 'DELETE');
export const setLimits = (server: SandboxServer, limits: { perSecond?: number; blockAfter?: number; blockMs?: number }): Promise<Response> => tell(server, '/_sandbox-limits', limits);
export const setWebhooks = (server: SandboxServer, mode: { lose?: number; times?: number; reverse?: number }): Promise<Response> => tell(server, '/_sandbox-webhooks', mode);

export interface ShownNote {
  id: number;
  entity_id: number;
  note_type: string;
  params: { text?: string; link?: string };
}

/** What is in the stand-in, read past its API. */
export const notesOf = async (server: SandboxServer, type: string): Promise<ShownNote[]> => ((await (await fetch(`${server.url}/_sandbox-notes`)).json()) as ShownNote[]).filter((note) => note.note_type === type);

/** What webhooks were sent, and what came back. */
export const webhooksOf = async (server: SandboxServer): Promise<{ body: string; status: number }[]> => (await (await fetch(`${server.url}/_sandbox-webhooks`)).json()) as { body: string; status: number }[];
