import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { LlmActivities } from '../domain/activities.ts';
import type { Analysis } from '../domain/analysis.ts';
import { clean } from '../domain/clean.ts';
import { checkAnswers, grade } from '../domain/grading.ts';
import { analysisKey } from '../domain/ids.ts';
import { checkPatterns } from '../domain/patterns.ts';
import { analysisTask, PROMPT_VERSION } from '../domain/prompts.ts';
import { DEFAULT_RUBRIC } from '../domain/rubric.ts';
import type { AskModelFunction } from './ask-model.ts';
import { signal } from './context.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  objects: ObjectStore;
  projects: Projects;
  askModel: AskModelFunction;
}

const LONGEST = { summary: 2_000, reason: 1_000, item: 500 };
const MOST_ITEMS = 20;

export const createAnalysisActivities = ({ calls, objects, projects, askModel }: Dependencies): Pick<LlmActivities, 'analyse'> => ({
  /**
   * Grades a call by its rubric.
   *
   * The model answers questions and quotes; code looks each quote up in the transcript and adds up the
   * points.
   */
  async analyse({ call }) {
    const settings = await projects.settings(call.project);
    if (!settings.runAnalysis) return { state: 'off' };
    await calls.beginStep(call, 'analysis');
    const rubric = DEFAULT_RUBRIC;
    const transcript = await readTranscript({ calls, objects }, call);
    const { form, model, provider, usage, microUsd } = await askModel({ call, step: 'analysis', transcript, task: analysisTask(rubric), part: 'analysis' });

    const answers = checkAnswers(rubric, transcript, form.answers).map((answer) => ({ ...answer, reason: clean(answer.reason, LONGEST.reason) }));
    const items = (texts: string[]): string[] => texts.map((text) => clean(text, LONGEST.item)).filter((text) => text !== '').slice(0, MOST_ITEMS);
    const analysis: Analysis = {
      call_id: call.callId,
      summary: clean(form.summary, LONGEST.summary),
      sentiment: form.sentiment,
      grading: grade(rubric, answers, settings.passPercent),
      issues_detected: items(form.issues_detected),
      recommendations: items(form.recommendations),
      patterns: checkPatterns(transcript, form.patterns).map(({ kind, evidence }) => ({ kind, evidence: { ...evidence, quote: clean(evidence.quote, LONGEST.item) } })),
      answers,
      versions: { prompt: PROMPT_VERSION, rubric: `${rubric.id}@${rubric.version}`, model, provider },
      usage,
      cost_micro_usd: microUsd,
    };
    await objects.put(analysisKey(call), `${JSON.stringify(analysis)}\n`, { contentType: 'application/json', signal: signal() });
    await calls.keepResult(call, 'analysis', analysis);
    return { state: 'analysed', scorePercent: analysis.grading.total_score_percent, pass: analysis.grading.pass };
  },
});
