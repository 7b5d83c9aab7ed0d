import { z } from 'zod';
import { FACT_NAMES } from '../domain/facts.ts';
import { PATTERN_KINDS } from '../domain/patterns.ts';

/**
 * The form that the model fills in. One for both requests about a call: a structured-output schema is
 * part of the prefix that the provider caches, so two schemas would share nothing.
 *
 * Only what strict structured output supports: every key required, no bounds. Bounds are checked after.
 */
export const FormSchema = z.strictObject({
  analysis: z
    .strictObject({
      summary: z.string(),
      sentiment: z.enum(['positive', 'neutral', 'negative']),
      answers: z.array(z.strictObject({ criterion: z.string(), answer: z.enum(['yes', 'no', 'not_applicable']), reason: z.string(), quotes: z.array(z.string()) })),
      issues_detected: z.array(z.string()),
      recommendations: z.array(z.string()),
      patterns: z.array(z.strictObject({ kind: z.enum(PATTERN_KINDS), quote: z.string() })),
    })
    .nullable(),
  facts: z.array(z.strictObject({ name: z.enum(FACT_NAMES), value: z.string(), quote: z.string() })).nullable(),
});

export type Form = z.infer<typeof FormSchema>;

const { $schema: _dialect, ...json } = z.toJSONSchema(FormSchema) as Record<string, unknown>;
export const FORM_JSON_SCHEMA = { name: 'call_form', json };
