import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Price } from './domain/cost.ts';
import { AftercallError, messageOf } from './domain/errors.ts';

/**
 * List prices in US dollars; models that are not named cost nothing here, which is right for one's own
 * servers. Contracts differ, and pyannoteAI bills in euros: put yours in PRICES_FILE.
 */
const LIST_PRICES: Price[] = [
  { model: 'whisper-1', validFrom: '2023-03-01', perMinute: 0.006 },
  { model: 'gpt-4o-transcribe', validFrom: '2025-03-20', inputPerMillion: 2.5, outputPerMillion: 10 },
  { model: 'gpt-4o-mini-transcribe', validFrom: '2025-03-20', inputPerMillion: 1.25, outputPerMillion: 5 },
  // Pay as you go, pre-recorded, one language, with its surcharge for speakers. Sources differ: compare with the bill.
  { model: 'nova-3', validFrom: '2025-02-12', perMinute: 0.0063 },
  // By the hour 0.15 and 0.21, and 0.02 for speakers.
  { model: 'universal-2', validFrom: '2024-11-01', perMinute: 0.17 / 60 },
  { model: 'universal-3-5-pro', validFrom: '2026-06-01', perMinute: 0.23 / 60 },
  { model: 'gpt-5', validFrom: '2025-08-07', inputPerMillion: 1.25, cachedInputPerMillion: 0.125, outputPerMillion: 10 },
  { model: 'gpt-5-mini', validFrom: '2025-08-07', inputPerMillion: 0.25, cachedInputPerMillion: 0.025, outputPerMillion: 2 },
  { model: 'gpt-5-nano', validFrom: '2025-08-07', inputPerMillion: 0.05, cachedInputPerMillion: 0.005, outputPerMillion: 0.4 },
  { model: 'gpt-4.1', validFrom: '2025-04-14', inputPerMillion: 2, cachedInputPerMillion: 0.5, outputPerMillion: 8 },
  { model: 'gpt-4.1-mini', validFrom: '2025-04-14', inputPerMillion: 0.4, cachedInputPerMillion: 0.1, outputPerMillion: 1.6 },
  { model: 'gpt-4o', validFrom: '2024-08-06', inputPerMillion: 2.5, cachedInputPerMillion: 1.25, outputPerMillion: 10 },
  { model: 'gpt-4o-mini', validFrom: '2024-07-18', inputPerMillion: 0.15, cachedInputPerMillion: 0.075, outputPerMillion: 0.6 },
];

const rate = z.number().nonnegative().optional();
const PricesSchema = z.array(
  z.strictObject({ model: z.string().min(1), validFrom: z.iso.date(), inputPerMillion: rate, cachedInputPerMillion: rate, outputPerMillion: rate, perMinute: rate }),
);

/** The price list of PRICES_FILE, else the built-in one. @throws CONFIG_INVALID saying what is wrong with the file */
export const loadPrices = (file: string | undefined): Price[] => {
  if (!file) return LIST_PRICES;
  try {
    return PricesSchema.parse(JSON.parse(readFileSync(file, 'utf8'))) as Price[];
  } catch (error) {
    throw new AftercallError('CONFIG_INVALID', `PRICES_FILE ${file} is no price list: ${messageOf(error)}`, {
      advice: 'It holds an array of {model, validFrom: "YYYY-MM-DD", inputPerMillion, cachedInputPerMillion, outputPerMillion | perMinute}.',
      cause: error,
    });
  }
};
