import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Calls } from '../db/calls.ts';
import type { Completeness } from '../db/completeness.ts';
import type { Inbox } from '../db/inbox.ts';
import type { Tracking } from '../db/tracking.ts';
import type { VoiceBacklog } from '../db/voice-backlog.ts';
import { CALL_STATES } from '../domain/call.ts';
import { VOICE_ENDS, VOICE_STATES, type VoiceState } from '../domain/voice.ts';

/** In these a voice call has not come to its end. */
const OPEN_VOICE_STATES = VOICE_STATES.filter((state) => !(VOICE_ENDS as readonly VoiceState[]).includes(state));

/** What the API process measures. Labels are few: projects, states and routes, never calls or people. */
export const createMetrics = ({ calls, inbox, completeness, tracking, voiceBacklog }: { calls: Calls; inbox: Inbox; completeness: Pick<Completeness, 'alarms'>; tracking: Pick<Tracking, 'backlog'>; voiceBacklog: VoiceBacklog }) => {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'aftercall_' });
  const requests = new Histogram({
    name: 'aftercall_http_request_seconds',
    help: 'Duration of API requests.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
    registers: [registry],
  });
  const webhooks = new Counter({ name: 'aftercall_webhooks_total', help: 'Webhooks by outcome.', labelNames: ['outcome'], registers: [registry] });
  const voiceEvents = new Counter({ name: 'aftercall_voice_events_total', help: 'Events of a voice provider by what became of them.', labelNames: ['disposition'], registers: [registry] });
  new Gauge({
    name: 'aftercall_calls',
    help: 'Calls by project and state.',
    labelNames: ['project', 'state'],
    registers: [registry],
    async collect() {
      const counts = await calls.countByProject();
      // A state that nobody is in any more is 0, not gone.
      for (const project of new Set(counts.map((count) => count.project))) for (const state of CALL_STATES) this.set({ project, state }, 0);
      for (const { project, state, calls: number } of counts) this.set({ project, state }, number);
    },
  });
  new Gauge({
    name: 'aftercall_webhook_backlog',
    help: 'Webhooks received and not delivered.',
    registers: [registry],
    async collect() {
      this.set(await inbox.backlog());
    },
  });
  new Gauge({
    name: 'aftercall_webhook_parked',
    help: 'Webhooks that have failed for a week: parked, or forgotten after a month.',
    labelNames: ['project', 'source', 'state'],
    registers: [registry],
    async collect() {
      const found = await inbox.parked();
      this.reset();
      for (const { project, source, state, events } of found) this.set({ project, source, state }, events);
    },
  });
  new Gauge({
    name: 'aftercall_tracking_backlog',
    help: 'Tracking events that are not delivered: pending, or failed and waiting for somebody.',
    labelNames: ['project', 'state'],
    registers: [registry],
    async collect() {
      const waiting = await tracking.backlog();
      this.reset();
      for (const { project, state, events } of waiting) this.set({ project, state }, events);
    },
  });
  new Gauge({
    name: 'aftercall_tracking_oldest_seconds',
    help: 'Age of the oldest tracking event that is not delivered.',
    labelNames: ['project', 'state'],
    registers: [registry],
    async collect() {
      const waiting = await tracking.backlog();
      this.reset();
      for (const { project, state, oldestSeconds } of waiting) this.set({ project, state }, oldestSeconds);
    },
  });
  new Gauge({
    name: 'aftercall_completeness_gaps',
    help: 'Calls of the last 31 days that nothing explains, or that could not be taken in.',
    labelNames: ['project', 'source', 'reason'],
    registers: [registry],
    async collect() {
      const found = await completeness.alarms();
      this.reset();
      for (const { project, source, unexplained, notTakenIn } of found) {
        this.set({ project, source, reason: 'unexplained' }, unexplained);
        this.set({ project, source, reason: 'not_taken_in' }, notTakenIn);
      }
    },
  });
  new Gauge({
    name: 'aftercall_completeness_failed_days',
    help: 'Days of the last 31 that could not be compared with their source.',
    labelNames: ['project', 'source'],
    registers: [registry],
    async collect() {
      const found = await completeness.alarms();
      this.reset();
      for (const { project, source, failedDays } of found) this.set({ project, source }, failedDays);
    },
  });
  new Gauge({
    name: 'aftercall_voice_calls',
    help: 'Outbound calls that have not come to their end, by project and state.',
    labelNames: ['project', 'state'],
    registers: [registry],
    async collect() {
      const open = await voiceBacklog.open();
      this.reset();
      for (const project of new Set(open.map((each) => each.project))) for (const state of OPEN_VOICE_STATES) this.set({ project, state }, 0);
      for (const { project, state, calls: number } of open) this.set({ project, state }, number);
    },
  });
  new Gauge({
    name: 'aftercall_voice_oldest_due_seconds',
    help: 'By how much the longest-waiting outbound call is overdue that could be dialled but for a line.',
    labelNames: ['project'],
    registers: [registry],
    async collect() {
      const overdue = await voiceBacklog.overdue();
      this.reset();
      for (const { project, seconds } of overdue) this.set({ project }, seconds);
    },
  });
  new Gauge({
    name: 'aftercall_voice_held_back',
    help: '1 where a queue of outbound calls is held back, with the code of why.',
    labelNames: ['project', 'code'],
    registers: [registry],
    async collect() {
      const heldBack = await voiceBacklog.heldBack();
      this.reset();
      for (const { project, code } of heldBack) this.set({ project, code }, 1);
    },
  });
  return { registry, requests, webhooks, voiceEvents };
};

export type Metrics = ReturnType<typeof createMetrics>;
