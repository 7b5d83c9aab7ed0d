import { AftercallError } from '../domain/errors.ts';
import { type Guard, isWithin } from './http/guard.ts';
import type { HostList } from './http/hosts.ts';
import type { OpenAICapabilities } from './openai-capabilities.ts';

/**
 * One speech, diarisation or language provider as an installation or a project names it.
 *
 * What is left out is the provider's own default. The object is all that an adapter is made from, so
 * that two projects can use the same provider with different keys in one process.
 */
export interface ProviderChoice {
  provider: string;
  apiKey: string;
  baseUrl?: string;
  model?: string;
  /** For one request; for providers that work in jobs, for one job. */
  timeoutMs: number;
  /** The hosts of `OUTBOUND_ONLY`: the provider's has to be one of them. */
  only: HostList | undefined;
  /** Where a project has set the address: what checks it before each request. */
  outside?: Guard | undefined;
  /** BCP-47. Taken where a request names none. */
  language?: string;
  /** Of a server that speaks OpenAI's API: what it can do of it. */
  capabilities?: OpenAICapabilities;
  /** Where this installation is reached, for gateways that list the applications that use them. */
  appUrl?: string;
}

/** A choice with the provider's defaults filled in. */
export type ProviderConfig = ProviderChoice & Required<Pick<ProviderChoice, 'baseUrl' | 'model'>>;

/** What a provider's file gives to its registry. */
export interface Provider<Port> {
  baseUrl: string;
  model: string;
  create(config: ProviderConfig): Port;
}

export interface ProviderRegistry<Port> {
  readonly names: readonly string[];
  /** What a provider is and uses where a choice leaves it out. */
  defaultsOf(name: string): Pick<Provider<Port>, 'baseUrl' | 'model'> | undefined;
  /** @throws CONFIG_INVALID when nobody of that name is known, or it may not be reached */
  create(choice: ProviderChoice): Port;
  /** The same with one more. */
  with(name: string, provider: Provider<Port>): ProviderRegistry<Port>;
}

/** @param what what these providers do, for messages: "transcription" */
export const createProviderRegistry = <Port>(what: string, providers: Record<string, Provider<Port>>): ProviderRegistry<Port> => {
  const names = Object.keys(providers);
  return {
    names,
    defaultsOf: (name) => (Object.hasOwn(providers, name) ? providers[name] : undefined),
    create(choice) {
      const provider = Object.hasOwn(providers, choice.provider) ? providers[choice.provider] : undefined;
      if (!provider) {
        throw new AftercallError('CONFIG_INVALID', `There is no ${what} provider "${choice.provider}".`, { advice: `Name one of these: ${names.join(', ')}.` });
      }
      const baseUrl = choice.baseUrl ?? provider.baseUrl;
      if (!isWithin(choice.only, new URL(baseUrl))) {
        throw new AftercallError('CONFIG_INVALID', `The ${what} provider "${choice.provider}" is at ${new URL(baseUrl).host}, which is not among the hosts of OUTBOUND_ONLY.`, { advice: 'Add its host there, or name another provider.' });
      }
      return provider.create({ ...choice, baseUrl, model: choice.model ?? provider.model });
    },
    with: (name, provider) => createProviderRegistry(what, { ...providers, [name]: provider }),
  };
};
