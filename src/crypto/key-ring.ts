import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { AftercallError } from '../domain/errors.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
/** NIST SP 800-38D: 96-bit nonces, 128-bit tags. Random nonces are safe for 2^32 messages under one key. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export interface Sealed {
  keyId: string;
  /** Nonce, tag, ciphertext. */
  bytes: Uint8Array;
}

/** Keys that encrypt and decrypt. The first encrypts; all decrypt, so that a key can be replaced. */
export interface KeyRing {
  /** The key that encrypts. */
  readonly activeId: string;
  has(id: string): boolean;
  /** A secret of 32 bytes for one purpose, derived from a key (HKDF-SHA256). @throws CONFIG_INVALID when the key is missing */
  derive(id: string, purpose: string): Uint8Array;
  /** @param context must be given again to `open`; ties a ciphertext to its place */
  seal(plaintext: Uint8Array, context?: string): Sealed;
  /** @throws CONFIG_INVALID when the key is missing or the bytes were tampered with */
  open(sealed: Sealed, context?: string): Uint8Array;
  /** As text for a database column: `v1.<key>.<base64url>`. */
  sealText(plaintext: string, context: string): string;
  openText(sealed: string, context: string): string;
}

/**
 * @param spec `id:base64,id2:base64`, each key 32 bytes
 * @throws CONFIG_INVALID naming what is wrong, never the keys
 */
export const createKeyRing = (spec: string): KeyRing => {
  const keys = parse(spec);
  const [activeId, activeKey] = keys.entries().next().value!;

  const ring: KeyRing = {
    activeId,
    has: (id) => keys.has(id),
    derive(id, purpose) {
      const key = keys.get(id);
      if (!key) throw missingKey(id);
      return new Uint8Array(hkdfSync('sha256', key, '', purpose, KEY_BYTES));
    },

    seal(plaintext, context = '') {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(ALGORITHM, activeKey, nonce).setAAD(Buffer.from(context));
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return { keyId: activeId, bytes: Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]) };
    },

    open({ keyId, bytes }, context = '') {
      const key = keys.get(keyId);
      if (!key) throw missingKey(keyId);
      const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, NONCE_BYTES))
        .setAAD(Buffer.from(context))
        .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw new AftercallError('CONFIG_INVALID', `Data encrypted under key "${keyId}" cannot be decrypted with the key of that name.`, {
          advice: 'The key on the ring is another one than the data was written with, or the data was changed. Restore the key in AFTERCALL_KEYS.',
          cause,
        });
      }
    },

    sealText(plaintext, context) {
      const { keyId, bytes } = ring.seal(Buffer.from(plaintext), context);
      return `v1.${keyId}.${Buffer.from(bytes).toString('base64url')}`;
    },

    openText(sealed, context) {
      const [version, keyId, bytes] = sealed.split('.');
      if (version !== 'v1' || !keyId || !bytes) {
        throw new AftercallError('CONFIG_INVALID', 'A stored secret is not in the form this version writes.', { advice: 'Restore it from a backup, or set it anew.' });
      }
      return Buffer.from(ring.open({ keyId, bytes: Buffer.from(bytes, 'base64url') }, context)).toString('utf8');
    },
  };
  return ring;
};

const missingKey = (id: string): AftercallError =>
  new AftercallError('CONFIG_INVALID', `Data is encrypted under key "${id}", which is not on the key ring.`, { advice: 'Add that key to the end of AFTERCALL_KEYS.' });

const parse = (spec: string): Map<string, Buffer> => {
  const keys = new Map<string, Buffer>();
  for (const entry of spec.split(',')) {
    const [, id, base64] = /^\s*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]+={0,2})\s*$/.exec(entry) ?? [];
    const key = base64 ? Buffer.from(base64, 'base64') : undefined;
    if (!id || key?.byteLength !== KEY_BYTES) throw invalid(`entry ${keys.size + 1} is not of the form id:base64 with ${KEY_BYTES} bytes`);
    if (keys.has(id)) throw invalid(`the key "${id}" is named twice`);
    keys.set(id, key);
  }
  return keys;
};

const invalid = (what: string): AftercallError =>
  new AftercallError('CONFIG_INVALID', `AFTERCALL_KEYS: ${what}.`, {
    advice: 'Make a key with: node -p "\'k1:\' + crypto.randomBytes(32).toString(\'base64\')"',
  });
