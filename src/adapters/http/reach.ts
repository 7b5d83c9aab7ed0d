import type { Guard } from './guard.ts';
import type { HostList } from './hosts.ts';

/**
 * How a system is reached.
 *
 * One that the installation's settings name may lie anywhere. One that a project's people name is led to by the
 * guard: they may not have us knock at doors that only we can reach.
 */
export interface Reach {
  /** The hosts of `OUTBOUND_ONLY`. */
  only: HostList | undefined;
  /** Given when a project's people named the address. */
  guard?: Guard | undefined;
}

/** The address of a request, in the form in which `send` takes it. */
export const addressed = ({ only, guard }: Reach, url: URL): { url: URL; only: HostList | undefined } | { url: string; guard: Guard } => (guard ? { url: url.href, guard } : { url, only });
