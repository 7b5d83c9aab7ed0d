import type { ProviderCall, VoiceCallKey, VoiceCallRequest } from '../../domain/voice.ts';

/** What to dial. The key goes with the call, so that it can be found again. */
export interface Dial extends Pick<VoiceCallRequest, 'from' | 'to' | 'agent' | 'variables' | 'metadata'> {
  key: VoiceCallKey;
}

/** Lines of an account, all that it is used for together. */
export interface Concurrency {
  current: number;
  /** Most that may be dialled out at once, what is kept for calls that come in taken off. */
  limit: number;
}

/** Somebody who places calls for us. */
export interface VoiceProvider {
  readonly name: string;
  /**
   * Dials, by one request that nothing repeats.
   *
   * @throws an error whose outcome is `refused` where nobody was called for certain. After any other, somebody may have
   *   been: look the call up before anything else.
   */
  createCall(dial: Dial, signal: AbortSignal): Promise<ProviderCall>;
  /** @throws NOT_FOUND when the provider has no such call */
  getCall(providerCallId: string, signal: AbortSignal): Promise<ProviderCall>;
  /** Calls that were placed under a key: as a rule none or one. A list may lag behind a call that was just placed. */
  findByMetadata(key: VoiceCallKey, signal: AbortSignal): Promise<ProviderCall[]>;
  /** Hangs up. Harmless where the call is over. */
  stopCall(providerCallId: string, signal: AbortSignal): Promise<void>;
  concurrency(signal: AbortSignal): Promise<Concurrency>;
}
