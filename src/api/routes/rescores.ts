import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Candidate, RescoreRow } from '../../db/rescores.ts';
import { costMicroUsd, priceOf } from '../../domain/cost.ts';
import { AftercallError } from '../../domain/errors.ts';
import { INSTALLATION, parseBinding, type PresetRef, presetStamp } from '../../domain/preset.ts';
import { againReference, rescoreReference, type RescoreForecast } from '../../domain/rescore.ts';
import { changeOf, summarise } from '../../domain/rescore-summary.ts';
import { DEFAULT_RUBRIC } from '../../domain/rubric.ts';
import { fromCursor, fromTextCursor, toCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { presetView } from '../preset-view.ts';
import { HttpProblem } from '../problems.ts';
import { ForecastBody, ForecastShape, NothingBody, PromoteBody, RescoreCallsShape, RescoreListShape, RescoreParams, RescoreViewShape, StartRescoreBody } from '../rescores.schema.ts';
import type { RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Shadow runs';
const ALL = '/v1/projects/:project/rescores';
const ONE = `${ALL}/:rescoreId`;

/** What a call's grading takes where the stored one does not say. */
const USUAL = { inputTokens: 1_500, tokensPerTurn: 30, outputTokens: 800, factsOutputTokens: 400 };

type Selection = z.output<typeof ForecastBody>;

export const rescoreRoutes = (route: RouteTable, { costs, presets, prices, projects, rescores, rescoresClient }: ApiDependencies): void => {
  /** Which model answers for a preset, and how many questions it is asked. */
  const asked = async (project: string, ref: PresetRef): Promise<{ model: string; criteria: number; told: boolean }> => {
    if (ref.preset === INSTALLATION) return { model: prices.installation.model.model ?? '', criteria: DEFAULT_RUBRIC.criteria.length, told: prices.installation.model.capabilities?.usage === 'cost' };
    const row = await presets.get(project, ref);
    const { model, price } = presetView(prices, row, {}).pricing.model;
    return { model, criteria: row.settings.rubric.criteria.length, told: price === 'told_by_provider' };
  };

  /** The calls that a selection means now, which of them are sampled, and what it will cost: from what their stored gradings used, not counting on caches. */
  const plan = async (project: string, selection: Selection): Promise<{ preset: PresetRef; calls: { call: Candidate; sampled: boolean }[]; forecast: RescoreForecast }> => {
    const { categories } = await projects.settings(project);
    const preset = await presets.choose(project, parseBinding(selection.preset)!);
    const found = await rescores.select(
      project,
      {
        callIds: selection.callIds && [...new Set(selection.callIds)],
        category: selection.category,
        ...(selection.startedFrom ? { startedFrom: new Date(selection.startedFrom) } : {}),
        ...(selection.startedTo ? { startedTo: new Date(selection.startedTo) } : {}),
        limit: selection.callIds ? selection.callIds.length : selection.limit,
      },
      categories,
    );
    const sample = Math.min(selection.sample, found.length);
    // Spread over all of them, so that the sample is like the whole.
    const calls = found.map((call, index) => ({ call, sampled: Math.floor(((index + 1) * sample) / found.length) > Math.floor((index * sample) / found.length) }));

    const now = await asked(project, preset);
    const day = new Date().toISOString().slice(0, 10);
    const forecast = { calls: calls.length, sampled: sample, requests: 0, inputTokens: 0, outputTokens: 0 };
    let microUsd = 0;
    let priced = true;
    for (const { call, sampled } of calls) {
      const inputTokens = call.inputTokens || USUAL.inputTokens + call.turns * USUAL.tokensPerTurn;
      const outputTokens = call.outputTokens || USUAL.outputTokens;
      for (const { model, criteria } of [{ model: now.model, criteria: now.criteria }, ...(sampled ? [{ model: call.model, criteria: call.criteria }] : [])]) {
        const grading = { inputTokens, outputTokens: Math.ceil((outputTokens * criteria) / Math.max(1, call.criteria)) };
        for (const used of [grading, ...(selection.facts ? [{ inputTokens, outputTokens: USUAL.factsOutputTokens }] : [])]) {
          forecast.requests += 1;
          forecast.inputTokens += used.inputTokens;
          forecast.outputTokens += used.outputTokens;
          if (!priceOf(prices.prices, model, day)) priced = false;
          microUsd += costMicroUsd(prices.prices, model, { kind: 'llm', ...used, cachedInputTokens: 0 }, day);
        }
      }
    }
    return { preset, calls, forecast: { ...forecast, microUsd: priced ? microUsd : null } };
  };

  const shown = ({ preset_id: preset, preset_version: version, ...row }: RescoreRow) => ({
    rescoreId: row.id,
    preset: presetStamp({ preset, version }),
    state: row.state,
    reason: row.reason,
    facts: row.facts,
    forecast: row.forecast,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
    endedAt: row.ended_at?.toISOString() ?? null,
    promoted: row.promoted_at && { categories: row.promoted_to ?? [], by: row.promoted_by ?? '', at: row.promoted_at.toISOString() },
  });

  const view = async (project: string, id: string): Promise<z.output<typeof RescoreViewShape>> => {
    const row = await rescores.get(project, id);
    const { lowScoreThreshold } = await projects.settings(project);
    const spent = await Promise.all([rescoreReference(id), againReference(id)].map((reference) => costs.spentFor(project, reference)));
    const sum = (of: 'requests' | 'unsettled' | 'microUsd'): number => spent.reduce((total, one) => total + one[of], 0);
    return { ...shown(row), progress: await rescores.countByState(project, id), actual: { requests: sum('requests'), unsettled: sum('unsettled'), microUsd: sum('microUsd') }, summary: summarise(await rescores.results(project, id), lowScoreThreshold) };
  };

  route.post(`${ALL}/forecast`, { access: 'project_admin', audit: 'nothing', summary: 'What a shadow run would cost', tag: TAG, params: ProjectParams, body: ForecastBody, returns: ForecastShape }, async ({ params: { project }, body }) => {
    const { preset, forecast } = await plan(project, body);
    return { preset: presetStamp(preset), ...forecast };
  });

  route.post(
    ALL,
    { access: 'project_admin', audit: { action: 'rescores.start', target: ({ body }) => body.preset, details: ({ category, limit, sample, facts, callIds }) => ({ ...(category ? { category } : {}), limit: callIds?.length ?? limit, sample, facts }) }, action: true, status: 202, summary: 'Grade stored calls by another preset, without any write to them', tag: TAG, params: ProjectParams, body: StartRescoreBody, returns: RescoreViewShape },
    async ({ params: { project }, body, principal, requestId }) => {
      const { preset, calls, forecast } = await plan(project, body);
      if (calls.length === 0) throw new AftercallError('CONFLICT', 'No graded call fits the selection.', { advice: 'Widen it.', outcome: 'refused' });
      if (body.mostMicroUsd !== undefined && (forecast.microUsd === null || forecast.microUsd > body.mostMicroUsd)) {
        throw new AftercallError('CONFLICT', forecast.microUsd === null ? 'What the run would cost is not known: no price is listed for one of the models.' : `The run would cost ${forecast.microUsd} millionths of a US dollar, more than ${body.mostMicroUsd}.`, { advice: 'Select fewer calls, or allow more.', outcome: 'refused' });
      }
      // The same request has the same ID: sent again after a crash, it goes on with what it began.
      const id = createHash('sha256').update(JSON.stringify([project, principal.id, requestId])).digest('hex').slice(0, 32);
      await rescores.open({ project, id, preset, facts: body.facts, bindings: (await projects.settings(project)).presets, forecast, by: principal.name, calls });
      await rescoresClient.start(project, id);
      return view(project, id);
    },
  );

  route.get(ALL, { access: 'project_viewer', summary: 'Shadow runs, newest first', tag: TAG, params: ProjectParams, query: z.strictObject(Paging), returns: RescoreListShape }, async ({ params: { project }, query }) => {
    const rows = await rescores.list(project, { limit: query.limit + 1, ...(query.cursor ? { after: fromCursor(query.cursor) } : {}) });
    const page = rows.slice(0, query.limit);
    const last = page.at(-1);
    return { rescores: page.map(shown), next: rows.length > query.limit && last ? toCursor({ startedAt: last.created_at, id: last.id }) : null };
  });

  route.get(ONE, { access: 'project_viewer', summary: 'A shadow run: how far it is, what it cost, what would change beyond noise', tag: TAG, params: RescoreParams, returns: RescoreViewShape }, async ({ params }) => view(params.project, params.rescoreId));

  route.get(`${ONE}/calls`, { access: 'project_viewer', summary: 'A shadow run call by call: scores, answers, decisions, old and new', tag: TAG, params: RescoreParams, query: z.strictObject(Paging), returns: RescoreCallsShape }, async ({ params: { project, rescoreId }, query }) => {
    await rescores.get(project, rescoreId);
    const after = query.cursor === undefined ? 0 : Number(fromTextCursor(query.cursor));
    if (!Number.isSafeInteger(after) || after < 0 || after > 1e6) throw new HttpProblem(400, 'The cursor is none that this API gave.');
    const { lowScoreThreshold } = await projects.settings(project);
    const rows = await rescores.listCalls(project, rescoreId, { limit: query.limit + 1, after });
    const page = rows.slice(0, query.limit);
    return {
      calls: page.map(({ call_id: callId, version, state, result, error }) => ({ callId, version, state, old: result?.old ?? null, new: result?.new ?? null, again: result?.again ?? null, change: result && changeOf(result, lowScoreThreshold), costMicroUsd: result?.costMicroUsd ?? null, error })),
      next: rows.length > query.limit ? toTextCursor(String(page.at(-1)!.seq)) : null,
    };
  });

  const act = { access: 'project_admin' as const, tag: TAG, params: RescoreParams, returns: RescoreViewShape, action: true as const };
  const target = ({ params }: { params: z.output<typeof RescoreParams> }): string => params.rescoreId;
  for (const name of ['pause', 'resume', 'cancel'] as const) {
    route.post(`${ONE}/${name}`, { ...act, audit: { action: `rescores.${name}`, target }, status: 202, summary: { pause: 'Let a shadow run wait', resume: 'Let a shadow run go on with what is left', cancel: 'End a shadow run; what it found stays' }[name], body: NothingBody }, async ({ params: { project, rescoreId } }) => {
      await rescoresClient[name](project, rescoreId);
      return view(project, rescoreId);
    });
  }
  route.post(`${ONE}/promote`, { ...act, audit: { action: 'rescores.promote', target, details: ({ preset, categories }) => ({ preset, categories }) }, summary: 'Bind the preset that was looked at to categories of calls', body: PromoteBody }, async ({ params: { project, rescoreId }, body, principal }) => {
    const { preset } = shown(await rescores.get(project, rescoreId));
    if (preset !== body.preset) throw new AftercallError('CONFLICT', `This run looked at ${preset}, not at ${body.preset}.`, { advice: 'Name what the run shows.', outcome: 'refused' });
    await rescores.promote({ project, id: rescoreId, categories: [...new Set(body.categories)], by: principal.name });
    return view(project, rescoreId);
  });
};
