import { createHmac, timingSafeEqual } from 'node:crypto';
import type { KeyRing } from '../crypto/key-ring.ts';
import type { CallKey } from '../domain/call.ts';

const PURPOSE = 'report-links';
const FORM = /^([A-Za-z0-9_-]{1,32})\.(\d{1,12})\.([A-Za-z0-9_-]{43})$/;

/** What a link to a report is worth. */
export type LinkVerdict = 'good' | 'expired' | 'forged';

/**
 * Links that show one call's report to whoever holds them, until they expire.
 *
 * Each is bound to its project, call and expiry by an HMAC under a secret derived from the key ring: taking a key off
 * the ring ends all links that were made under it.
 */
export const createReportLinks = ({ keyRing, publicUrl, ttlMs }: { keyRing: KeyRing; publicUrl: string; ttlMs: number }) => {
  const signatureOf = (keyId: string, { project, callId }: CallKey, expires: number): Buffer =>
    createHmac('sha256', keyRing.derive(keyId, PURPOSE)).update(JSON.stringify([project, callId, expires])).digest();

  /** @returns what goes behind `?link=` */
  const sign = (call: CallKey, expiresAtMs: number): string => {
    const expires = Math.floor(expiresAtMs / 1_000);
    return `${keyRing.activeId}.${expires}.${signatureOf(keyRing.activeId, call, expires).toString('base64url')}`;
  };

  return {
    /** A link for a call. @returns with when it expires */
    make(call: CallKey, forMs = ttlMs): { url: string; expiresAt: Date } {
      // Whole seconds, rounded up: what is said is not longer than what holds.
      const expiresAtMs = Math.ceil((Date.now() + forMs) / 1_000) * 1_000;
      return { url: `${publicUrl}${reportPath(call)}?link=${sign(call, expiresAtMs)}`, expiresAt: new Date(expiresAtMs) };
    },

    check(call: CallKey, link: string, nowMs = Date.now()): LinkVerdict {
      const [, keyId, expires, signature] = FORM.exec(link) ?? [];
      if (!keyId || !expires || !signature || !keyRing.has(keyId)) return 'forged';
      if (!timingSafeEqual(signatureOf(keyId, call, Number(expires)), Buffer.from(signature, 'base64url'))) return 'forged';
      return Number(expires) * 1_000 > nowMs ? 'good' : 'expired';
    },
  };
};

export type ReportLinks = ReturnType<typeof createReportLinks>;

export const reportPath = ({ project, callId }: CallKey): string => `/calls/${encodeURIComponent(project)}/${encodeURIComponent(callId)}`;
