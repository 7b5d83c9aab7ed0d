import { createProviders, type ProvidersOf } from '../../src/activities/providers.ts';
import { diarizationChoice, diarizers } from '../../src/adapters/diarization/registry.ts';
import { guardOf } from '../../src/adapters/http/guard.ts';
import { languageModels, modelChoice } from '../../src/adapters/llm/registry.ts';
import type { ProviderRegistry } from '../../src/adapters/provider.ts';
import { speechChoice, transcribers } from '../../src/adapters/stt/registry.ts';
import type { Transcriber } from '../../src/adapters/stt/transcriber.ts';
import type { Config } from '../../src/config.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCalls } from '../../src/db/calls.ts';
import type { Database } from '../../src/db/database.ts';
import { createPresets } from '../../src/db/presets.ts';
import { createProjects } from '../../src/db/projects.ts';

/** What turns presets into adapters, as the product wires it. */
export const testProviders = (db: Database, config: Config, speech: ProviderRegistry<Transcriber> = transcribers): ProvidersOf =>
  createProviders({
    presets: createPresets(db, createKeyRing(config.AFTERCALL_KEYS)),
    calls: createCalls(db),
    projects: createProjects(db),
    registries: { speech, diarization: diarizers, model: languageModels },
    installation: { speech: speechChoice(config), diarization: diarizationChoice(config), model: modelChoice(config), acceptProviderTranscript: config.STT_ACCEPT_PROVIDER_TRANSCRIPT },
    guard: guardOf(config),
  });
