import { createHash } from 'node:crypto';
import type { Completion, LanguageModel } from '../adapters/llm/language-model.ts';
import type { Costs } from '../db/costs.ts';
import type { CallVersion } from '../domain/call.ts';
import { costMicroUsd, type PaidFor, type Price, type Usage } from '../domain/cost.ts';
import { AftercallError, isAftercallError, messageOf } from '../domain/errors.ts';
import { PROMPT_VERSION, type PromptMessage, repairTask, sharedPrefix } from '../domain/prompts.ts';
import type { Transcript } from '../domain/transcript.ts';
import { FORM_JSON_SCHEMA, type Form, FormSchema } from './ask-model.schema.ts';
import { signal } from './context.ts';

interface Dependencies {
  costs: Costs;
  prices: Price[];
}

export interface AskModel {
  call: CallVersion;
  /** The one that the call's preset names. */
  model: LanguageModel;
  step: PaidFor;
  /** The test or shadow run that asks, if it is not the call itself. */
  reference?: string | undefined;
  transcript: Transcript;
  task: PromptMessage;
  /** Which part of the form the task asks for. */
  part: 'analysis' | 'facts';
}

export interface ModelAnswer<P extends 'analysis' | 'facts'> {
  form: NonNullable<Form[P]>;
  model: string;
  provider: string;
  /** Over all tries. */
  usage: Extract<Usage, { kind: 'llm' }>;
  microUsd: number;
}

const MAX_OUTPUT_TOKENS = 8_000;
/** An answer that was cut off gets one more try with more room. */
const MAX_OUTPUT_TOKENS_LONG = 24_000;
const FENCE_CHARACTERS = 16;
/** English has about four to a token, other languages fewer. */
const CHARACTERS_PER_TOKEN = 3;

const today = (): string => new Date().toISOString().slice(0, 10);

/**
 * Asks the model to fill in its form, with one repair try.
 *
 * @throws MODEL_REFUSED final; MODEL_CUT_OFF final, after a second try with more room; MODEL_NONSENSE
 *   retryable, when the repaired answer does not fit the form either
 */
export const createAskModel = ({ costs, prices }: Dependencies) => {
  /** Characters to tokens on the safe side; the answer may use all the room it has. */
  const estimateOf = (model: LanguageModel, messages: PromptMessage[], maxOutputTokens: number): number => {
    const characters = JSON.stringify([FORM_JSON_SCHEMA, messages]).length;
    return costMicroUsd(prices, model.model, { kind: 'llm', inputTokens: Math.ceil(characters / CHARACTERS_PER_TOKEN), cachedInputTokens: 0, outputTokens: maxOutputTokens }, today());
  };

  const complete = async ({ call, model, step, reference, part }: AskModel, messages: PromptMessage[], cacheKey: string, maxOutputTokens: number): Promise<Completion & { microUsd: number }> => {
    const content = JSON.stringify([PROMPT_VERSION, FORM_JSON_SCHEMA, messages, maxOutputTokens]);
    return costs.payOnce<Completion & { microUsd: number }>({ ...call, step, reference, kind: 'llm', provider: model.name, model: model.model, estimateMicroUsd: estimateOf(model, messages, maxOutputTokens), content }, async () => {
      const completion = await model.complete({ messages, schema: FORM_JSON_SCHEMA, cacheKey, maxOutputTokens, signal: signal() });
      const usage = { kind: 'llm' as const, ...completion.usage };
      const microUsd = completion.costMicroUsd ?? costMicroUsd(prices, completion.model, usage, today());
      return {
        result: { ...completion, microUsd },
        // Only an answer that fits is kept for a later try: one that does not would fail it again.
        usable: fits(completion, part),
        provider: completion.provider,
        model: completion.model,
        usage,
        microUsd,
        requestId: completion.requestId,
      };
    });
  };

  return async <P extends 'analysis' | 'facts'>(question: AskModel & { part: P }): Promise<ModelAnswer<P>> => {
    const { call, transcript, task, part } = question;
    // Unknown to the callers, equal for all requests about this call.
    const fence = createHash('sha256').update(JSON.stringify([call.project, call.callId, transcript.turns])).digest('hex').slice(0, FENCE_CHARACTERS);
    const cacheKey = createHash('sha256').update(`${call.project}/${call.callId}`).digest('hex').slice(0, 32);
    const messages = [...sharedPrefix(transcript, fence), task];
    const tries: (Completion & { microUsd: number })[] = [];

    const attempt = async (prompt: PromptMessage[], maxOutputTokens: number): Promise<NonNullable<Form[P]>> => {
      const completion = await complete(question, prompt, cacheKey, maxOutputTokens);
      tries.push(completion);
      return withoutPrompt(read(completion, part), [fence, ...sharedPrefix({ ...transcript, turns: [] }, fence).flatMap(({ content }) => content.split('\n'))]);
    };
    const form = await attempt(messages, MAX_OUTPUT_TOKENS).catch((error: unknown) => {
      if (!isAftercallError(error)) throw error;
      if (error.code === 'MODEL_CUT_OFF') return attempt(messages, MAX_OUTPUT_TOKENS_LONG);
      if (error.code !== 'MODEL_NONSENSE') throw error;
      return attempt([...messages, { role: 'assistant', content: tries[0]!.content.slice(0, 4_000) }, repairTask(error.message)], MAX_OUTPUT_TOKENS);
    });
    const sum = (of: (completion: Completion & { microUsd: number }) => number): number => tries.reduce((total, completion) => total + of(completion), 0);
    const last = tries.at(-1)!;
    return {
      form,
      model: last.model,
      provider: last.provider,
      usage: { kind: 'llm', inputTokens: sum((one) => one.usage.inputTokens), cachedInputTokens: sum((one) => one.usage.cachedInputTokens), outputTokens: sum((one) => one.usage.outputTokens) },
      microUsd: sum((one) => one.microUsd),
    };
  };
};

const read = <P extends 'analysis' | 'facts'>({ finish, content, refusal }: Completion, part: P): NonNullable<Form[P]> => {
  if (finish === 'refusal' || finish === 'content_filter') {
    throw new AftercallError('MODEL_REFUSED', finish === 'refusal' ? `The language model refused to answer: ${(refusal ?? '').slice(0, 200)}` : "The provider's content filter stopped the answer.", {
      advice: 'Read the call. Retry, perhaps with another model, or skip the step.',
    });
  }
  if (finish === 'length') {
    throw new AftercallError('MODEL_CUT_OFF', 'The language model ran out of room before it had finished its answer.', { advice: 'Use a model with longer answers, or skip the step.' });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch (error) {
    throw nonsense(`it is not JSON (${messageOf(error).slice(0, 100)})`);
  }
  const form = FormSchema.safeParse(parsed);
  if (!form.success) throw nonsense(form.error.issues.slice(0, 3).map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`).join('; '));
  const filled = form.data[part];
  if (filled === null) throw nonsense(`"${part}" is null`);
  return filled;
};

/** A line of the instructions this long is no sentence that a call would have in it by chance. */
const TELLING_CHARACTERS = 30;

/**
 * A filled-in form without what the model was told, should it have been talked into giving that away: the marker that
 * fences the transcript above all, which nobody who speaks on calls may learn.
 */
const withoutPrompt = <T>(form: T, prompt: readonly string[]): T => {
  const secret = prompt.filter((line, index) => index === 0 || line.length >= TELLING_CHARACTERS);
  const strip = (value: unknown): unknown => {
    if (typeof value === 'string') return secret.reduce((text, line) => text.replaceAll(line, '…'), value);
    if (Array.isArray(value)) return value.map(strip);
    return value !== null && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, strip(inner)])) : value;
  };
  return strip(form) as T;
};

const fits = (completion: Completion, part: 'analysis' | 'facts'): boolean => {
  try {
    read(completion, part);
    return true;
  } catch {
    return false;
  }
};

const nonsense = (why: string): AftercallError =>
  new AftercallError('MODEL_NONSENSE', `The language model's answer does not fit the form: ${why}`, { advice: 'It is tried again. If it goes on, use another model or skip the step.' });

export type AskModelFunction = ReturnType<typeof createAskModel>;
