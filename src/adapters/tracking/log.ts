import type { TrackingEnvelope, TrackingSink } from './sink.ts';

/** Takes one line. */
export type WriteEvent = (event: object) => void;

/**
 * Events as lines of the process's own log, for whoever collects that.
 *
 * Logs are kept where nothing can be erased by a customer's wish, so numbers and the metadata of whoever asked for
 * the call stay out. Class `no_key`: a line that was written before a crash is written again after it.
 */
export const createLogSink = (write: WriteEvent): TrackingSink => ({
  name: 'log',
  class: 'no_key',
  send(event) {
    write(impersonal(event));
    return Promise.resolve({ outcome: 'delivered', receipt: {} });
  },
  check: () => Promise.resolve('Events are written to the log, without numbers and metadata.'),
});

const impersonal = ({ properties: { from: _from, to: _to, metadata: _metadata, ...properties }, ...event }: TrackingEnvelope): object => ({ ...event, properties });
