import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../src/app.ts';
import type { Config } from '../src/config.ts';
import { DEFAULT_PROJECT } from '../src/domain/ids.ts';
import { say } from './programs/index.ts';

/** Both of ranges that belong to nobody. The stand-in has this customer ask for an offer. */
const ASKED_FOR = {
  from: '+6560000100',
  to: '+15550100180',
  agent: 'agent_sandbox_callback',
  variables: { first_name: 'Maya', reason: 'the offer that was asked for on the website' },
  metadata: { campaign: 'call-back' },
};
/** The same at every start: the call is placed once, and the next start finds how it ended. */
const KEY = 'npm-start-shows-one-call';
const EVERY_MS = 250;
/** Long for a call of seconds, on a machine that has other things to do. */
const PATIENCE_MS = 120_000;
/** Of the voice call, when there is no recording to go on with. */
const NOTHING_FOLLOWS = ['not_connected', 'cancelled', 'failed', 'needs_attention'];
/** Of the call that its recording is processed as. */
const ENDED = ['completed', 'rejected', 'given_up', 'cancelled', 'failed', 'needs_attention', 'awaiting_approval'];

interface VoiceCallView {
  voiceCallId: string;
  state: string;
  outcome: string | null;
  callId: string | null;
  reason: string | null;
}

/**
 * Places one outbound call with the stand-in as any program would, and shows its way from the request to its report.
 *
 * @returns a link to the report, or undefined when it came to none; why is said
 */
export const showOutboundCall = async ({ api, wiring }: Pick<App, 'api' | 'wiring'>, config: Config, signal: AbortSignal): Promise<string | undefined> => {
  const project = `${api.url}/v1/projects/${DEFAULT_PROJECT}`;
  const headers = { authorization: `Bearer ${config.API_TOKEN}`, 'content-type': 'application/json' };
  const read = async <T>(path: string, init: RequestInit = {}): Promise<T> => {
    const response = await fetch(`${project}${path}`, { ...init, signal, headers: { ...headers, 'x-request-id': randomUUID(), ...(init.headers as Record<string, string> | undefined) } });
    if (!response.ok) throw new Error(`${init.method ?? 'GET'} ${path} was answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  };

  let shown = '';
  const show = (where: string): void => {
    if (where !== shown) say(`outbound call: ${where}`);
    shown = where;
  };
  const { voiceCallId } = await read<{ voiceCallId: string }>('/voice-calls', { method: 'POST', headers: { 'idempotency-key': KEY }, body: JSON.stringify(ASKED_FOR) });
  for (const untilMs = Date.now() + PATIENCE_MS; ; await sleep(EVERY_MS, undefined, { signal })) {
    const call = await read<VoiceCallView>(`/voice-calls/${voiceCallId}`);
    if (call.callId === null || call.state !== 'completed') {
      show([call.state.replaceAll('_', ' '), call.outcome?.replaceAll('_', ' '), call.reason].filter(Boolean).join(', '));
      if (NOTHING_FOLLOWS.includes(call.state)) return undefined;
    } else {
      const { state, scorePercent } = await read<{ state: string; scorePercent: number | null }>(`/calls/${call.callId}`);
      show(`over, recording and transcript ${state === 'completed' ? 'processed' : `are ${state.replaceAll('_', ' ')}`}${scorePercent === null ? '' : `, score ${scorePercent}`}`);
      if (ENDED.includes(state)) return wiring.reportLinks.make({ project: DEFAULT_PROJECT, callId: call.callId }).url;
    }
    if (Date.now() > untilMs) {
      say(`outbound call: not at its end yet; ${project}/voice-calls/${voiceCallId} says how it goes on`);
      return undefined;
    }
  }
};
