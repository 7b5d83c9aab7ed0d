import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import express from 'express';
import type { Sandbox } from '../server.ts';

export type WebhookEvent = 'call_started' | 'call_ended' | 'call_analyzed';

/** How webhooks are sent. */
interface Mode {
  /** Where to. None are sent without it. */
  url?: string;
  /** That many of the next are never sent. */
  lose: number;
  /** These are never sent. */
  loseEvents: string[];
  /** How often each is sent. */
  times: number;
  /** Held back until so many have gathered, then sent in reverse. 1 sends at once. */
  reverse: number;
  /** Each is sent so much later, and by up to `jitterMs` more, so that they overtake each other. */
  delayMs: number;
  jitterMs: number;
  /** How long an answer may take. The real one's is 10 s. */
  timeoutMs: number;
  /** How often one that was not taken is sent again, and after how long. */
  retries: number;
  retryMs: number;
}

interface Sent {
  event: string;
  callId: string;
  attempt: number;
  /** 0: no answer. */
  status: number;
  atMs: number;
}

/** The header that Retell signs a body with: HMAC-SHA256 over the raw bytes and the time in ms. */
export const signatureOf = (body: string, key: string, atMs: number): string => `v=${atMs},d=${createHmac('sha256', key).update(body + String(atMs)).digest('hex')}`;

/**
 * An agent's webhooks: signed, triggered in order and not waiting for each other, sent again when they are not taken.
 *
 * - `POST /_sandbox/webhooks` changes how they are sent, by the fields of `Mode`; `{"lose": 0, "times": 1, "reverse": 1}` is the default
 * - `GET /_sandbox/webhooks` what was sent, and the statuses that came back
 * - `POST /_sandbox/webhooks/send {event, callId, tamper?, ageSeconds?, times?}` sends one of a call once more
 */
export const createWebhooks = ({ app, record }: Sandbox, { key, url, callOf }: { key: string; url?: string | undefined; callOf: (callId: string, event: string) => object | undefined }) => {
  const mode: Mode = { ...(url ? { url } : {}), lose: 0, loseEvents: [], times: 1, reverse: 1, delayMs: 0, jitterMs: 0, timeoutMs: 10_000, retries: 3, retryMs: 500 };
  const sent: Sent[] = [];
  const stopped = new AbortController();
  let held: { event: string; callId: string; body: string }[] = [];

  const post = async (body: string, { tamper = false, ageMs = 0 } = {}): Promise<number> => {
    const answer = await fetch(mode.url!, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-retell-signature': signatureOf(body, tamper ? 'somebody else' : key, Date.now() - ageMs) },
      body,
      redirect: 'manual',
      signal: AbortSignal.any([stopped.signal, AbortSignal.timeout(mode.timeoutMs)]),
    }).catch(() => undefined);
    await answer?.body?.cancel().catch(() => {});
    return answer?.status ?? 0;
  };

  const deliver = async ({ event, callId, body }: { event: string; callId: string; body: string }): Promise<void> => {
    const waitMs = mode.delayMs + Math.random() * mode.jitterMs;
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: stopped.signal });
    for (let attempt = 1; attempt <= mode.retries + 1 && mode.url && !stopped.signal.aborted; attempt += 1) {
      const status = await post(body);
      sent.push({ event, callId, attempt, status, atMs: Date.now() });
      if (status >= 200 && status < 300) return record('webhook_sent', { event, callId, status, attempt });
      await sleep(mode.retryMs, undefined, { signal: stopped.signal });
    }
    record('webhook_given_up', { event, callId });
  };
  const deliverInBackground = (webhook: { event: string; callId: string; body: string }): void => {
    // Only the end of the stand-in breaks one off.
    for (let time = 0; time < mode.times; time += 1) void deliver(webhook).catch(() => {});
  };

  app.post('/_sandbox/webhooks', express.json(), (request, response) => {
    Object.assign(mode, request.body);
    if (held.length >= mode.reverse) {
      for (const webhook of held.reverse()) deliverInBackground(webhook);
      held = [];
    }
    response.json(mode);
  });
  app.get('/_sandbox/webhooks', (_request, response) => void response.json(sent));
  app.post('/_sandbox/webhooks/send', express.json(), async (request, response) => {
    const { event, callId, tamper = false, ageSeconds = 0, times = 1 } = request.body as { event: string; callId: string; tamper?: boolean; ageSeconds?: number; times?: number };
    const call = callOf(callId, event);
    if (!call || !mode.url) return void response.status(404).json({ status: 'error', message: 'No such call, or no address to send to' });
    const statuses: number[] = [];
    for (let time = 0; time < times; time += 1) statuses.push(await post(JSON.stringify({ event, call }), { tamper, ageMs: ageSeconds * 1_000 }));
    response.json({ statuses });
  });

  return {
    /** Sends one, unless it is lost. */
    trigger(event: WebhookEvent, callId: string): void {
      if (!mode.url) return;
      const body = JSON.stringify({ event, call: callOf(callId, event) });
      if (mode.loseEvents.includes(event) || mode.lose > 0) {
        if (!mode.loseEvents.includes(event)) mode.lose -= 1;
        return record('webhook_lost', { event, callId });
      }
      held.push({ event, callId, body });
      if (held.length < mode.reverse) return;
      const webhooks = held.reverse();
      held = [];
      for (const webhook of webhooks) deliverInBackground(webhook);
    },
    stop: (): void => stopped.abort(),
  };
};
