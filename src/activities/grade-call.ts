import type { Analysis } from '../domain/analysis.ts';
import type { CallVersion } from '../domain/call.ts';
import { clean } from '../domain/clean.ts';
import type { PaidFor } from '../domain/cost.ts';
import { findQuote } from '../domain/evidence.ts';
import type { CheckedFact } from '../domain/facts.ts';
import { checkAnswers, grade } from '../domain/grading.ts';
import { checkPatterns } from '../domain/patterns.ts';
import { presetStamp } from '../domain/preset.ts';
import { analysisTask, factsTask, PROMPT_VERSION } from '../domain/prompts.ts';
import type { Transcript } from '../domain/transcript.ts';
import type { AskModelFunction } from './ask-model.ts';
import type { Providers } from './providers.ts';

const LONGEST = { summary: 2_000, reason: 1_000, item: 500 };
const MOST_ITEMS = 20;
/** Of one answer, and of those that were thrown out. */
const MOST_QUOTES = 10;
/** The standard text fields of the CRM hold 255 characters. */
const LONGEST_VALUE = 255;
const LONGEST_QUOTE = 1_000;
const MOST_FACTS = 40;

interface Question {
  call: CallVersion;
  /** What the request is counted under. */
  step: PaidFor;
  reference?: string | undefined;
  providers: Providers;
  transcript: Transcript;
}

export interface GradeCall extends Question {
  company: string;
  category: string | undefined;
  passPercent: number;
}

/**
 * Grades a call by a preset, and writes nothing but what it cost.
 *
 * The model answers questions and quotes; code looks each quote up in the transcript and adds up the
 * points.
 */
export const gradeCall = async (askModel: AskModelFunction, { call, step, reference, providers, transcript, company, category, passPercent }: GradeCall): Promise<Analysis> => {
  const { rubric, template, model: languageModel } = providers;
  const task = analysisTask(rubric, template, { language: providers.writtenLanguage, company, category });
  const { form, model, provider, usage, microUsd } = await askModel({ call, model: languageModel, step, reference, transcript, task, part: 'analysis' });

  const answers = checkAnswers(rubric, transcript, form.answers).map(({ reason, evidence, rejected, ...answer }) => ({
    ...answer,
    reason: clean(reason, LONGEST.reason),
    evidence: evidence.slice(0, MOST_QUOTES).map((found) => ({ ...found, quote: clean(found.quote, LONGEST_QUOTE) })),
    rejected: rejected.slice(0, MOST_QUOTES).map(({ quote, why }) => ({ quote: clean(quote, LONGEST.item), why })),
  }));
  const items = (texts: string[]): string[] => texts.map((text) => clean(text, LONGEST.item)).filter((text) => text !== '').slice(0, MOST_ITEMS);
  return {
    call_id: call.callId,
    summary: clean(form.summary, LONGEST.summary),
    sentiment: form.sentiment,
    grading: grade(rubric, answers, passPercent),
    issues_detected: items(form.issues_detected),
    recommendations: items(form.recommendations),
    patterns: checkPatterns(transcript, form.patterns).map(({ kind, evidence }) => ({ kind, evidence: { ...evidence, quote: clean(evidence.quote, LONGEST.item) } })),
    answers,
    versions: { prompt: PROMPT_VERSION, preset: presetStamp(providers), rubric: `${rubric.id}@${rubric.version}`, model, provider },
    usage,
    cost_micro_usd: microUsd,
    rubric,
    pass_percent: passPercent,
  };
};

/**
 * Extracts what the CRM needs from a call: another request on the prompt prefix that the analysis has
 * paid for. Each fact's quote is looked up in the transcript, whoever said it.
 */
export const extractFactsFrom = async (askModel: AskModelFunction, { call, step, reference, providers, transcript }: Question): Promise<{ facts: CheckedFact[]; microUsd: number }> => {
  const { form, microUsd } = await askModel({ call, model: providers.model, step, reference, transcript, task: factsTask(), part: 'facts' });
  const facts = form.slice(0, MOST_FACTS).map(({ name, value, quote }): CheckedFact => {
    const found = findQuote(transcript, quote, 'either');
    const fact = { name, value: clean(value, LONGEST_VALUE), quote: clean(quote, LONGEST_QUOTE) };
    return 'evidence' in found ? { ...fact, evidence: found.evidence } : { ...fact, fault: found.fault };
  });
  return { facts, microUsd };
};
