import { fileURLToPath } from 'node:url';
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import proto from '@temporalio/proto';
import type { KeyRing } from './key-ring.ts';

const ENCODING = 'binary/encrypted';
const ENCODING_KEY = 'encoding';
const KEY_ID = 'encryption-key-id';

/** Encrypts failures' messages and stack traces too; without it they would stand in histories as plain text. */
export const FAILURE_CONVERTER_PATH = fileURLToPath(new URL('./failure-converter.cjs', import.meta.url));

/** Encrypts what workflows and activities exchange. Payloads of others pass through `decode` untouched. */
export const createPayloadCodec = (keyRing: KeyRing): PayloadCodec => ({
  encode: async (payloads) =>
    payloads.map((payload): Payload => {
      const { keyId, bytes } = keyRing.seal(proto.temporal.api.common.v1.Payload.encode(payload).finish());
      return { metadata: { [ENCODING_KEY]: Buffer.from(ENCODING), [KEY_ID]: Buffer.from(keyId) }, data: bytes };
    }),
  decode: async (payloads) =>
    payloads.map((payload): Payload => {
      const { metadata, data } = payload;
      if (!metadata?.[ENCODING_KEY] || Buffer.from(metadata[ENCODING_KEY]).toString() !== ENCODING) return payload;
      const keyId = Buffer.from(metadata[KEY_ID] ?? []).toString();
      return proto.temporal.api.common.v1.Payload.decode(keyRing.open({ keyId, bytes: data ?? new Uint8Array(0) }));
    }),
});

/** For clients and workers alike: they only understand each other with the same one. */
export const dataConverter = (keyRing: KeyRing): DataConverter => ({
  payloadCodecs: [createPayloadCodec(keyRing)],
  failureConverterPath: FAILURE_CONVERTER_PATH,
});
