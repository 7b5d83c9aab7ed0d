import { createHash } from 'node:crypto';
import { z } from 'zod';
import { diarizers } from '../../adapters/diarization/registry.ts';
import { NotConnected } from '../../adapters/http/guard.ts';
import { languageModels } from '../../adapters/llm/registry.ts';
import { OPENAI_COMPATIBILITIES } from '../../adapters/openai-capabilities.ts';
import { transcribers } from '../../adapters/stt/registry.ts';
import type { PresetDraft, PresetRow } from '../../db/presets.ts';
import type { PresetTestRow } from '../../db/preset-tests.ts';
import { AftercallError, isAftercallError, messageOf } from '../../domain/errors.ts';
import { KEYED_PARTS, parseBinding, presetStamp } from '../../domain/preset.ts';
import { draftOf, presetTestReference } from '../../domain/preset-test.ts';
import { PLACEHOLDERS } from '../../domain/prompt-template.ts';
import { STARTER_PRESETS } from '../../domain/rubrics/starters.ts';
import { fromTextCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { presetView, settingsView } from '../preset-view.ts';
import { CreatePresetBody, type DraftBody, PresetListShape, PresetParams, PresetShape, PresetTestParams, PresetTestShape, SavePresetBody, StartersShape, TestPresetBody } from '../presets.schema.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Presets';
const ALL = '/v1/projects/:project/presets';
const ONE = `${ALL}/:presetId`;

type Given = Omit<z.output<typeof DraftBody>, 'basedOn'>;

export const presetRoutes = (route: RouteTable, { calls, costs, guard, presets, presetsClient, presetTests, prices, projects }: ApiDependencies): void => {
  const viewOf = async (project: string, row: PresetRow): Promise<z.output<typeof PresetShape>> => presetView(prices, row, (await projects.settings(project)).presets);

  /** Where requests will go is checked when it is set, and again at each of them. */
  const checked = async ({ speech, diarization, model, template, criteria, acceptProviderTranscript, keys }: Given): Promise<PresetDraft> => {
    for (const [part, given] of Object.entries({ speech, diarization, model })) {
      if (given.baseUrl === undefined) continue;
      try {
        await guard.check(guard.parse(given.baseUrl));
      } catch (error) {
        const refused = isAftercallError(error) && error.code === 'URL_REFUSED';
        if (!refused && !(error instanceof NotConnected)) throw error;
        throw new HttpProblem(400, `The ${part} provider cannot be used at this address: ${messageOf(error)}`, { errors: [{ path: `${part}.baseUrl`, message: messageOf(error) }] });
      }
    }
    return { speech, diarization, model, template, criteria, acceptProviderTranscript, keys } as PresetDraft;
  };

  /** Names and addresses of whom calls will go to; of the keys, that they were given. */
  const details = ({ speech, diarization, model, keys }: Given) => ({
    ...Object.fromEntries(Object.entries({ speech, diarization, model }).map(([part, { provider, baseUrl, model: name }]) => [part, [provider, baseUrl, name].filter((word) => word !== undefined).join(' ')])),
    keys: KEYED_PARTS.filter((part) => keys[part] !== undefined),
  });

  route.get('/v1/projects/:project/starter-presets', { access: 'project_viewer', summary: 'Presets and rubrics to begin with, and what a preset can be made of', tag: TAG, params: ProjectParams, returns: StartersShape }, async () => ({
    presets: STARTER_PRESETS.map(({ id, name, settings }) => ({ id, name, ...settingsView(settings) })),
    placeholders: Object.entries(PLACEHOLDERS).map(([name, about]) => ({ name, about })),
    providers: { speech: [...transcribers.names], diarization: [...diarizers.names], model: [...languageModels.names], compatibilities: [...OPENAI_COMPATIBILITIES] },
  }));

  route.get(ALL, { access: 'project_viewer', summary: "The project's presets, by ID", tag: TAG, params: ProjectParams, query: z.strictObject({ ...Paging, archived: z.enum(['true', 'false']).default('false') }), returns: PresetListShape }, async ({ params: { project }, query }) => {
    const rows = await presets.list(project, { limit: query.limit + 1, archived: query.archived === 'true', ...(query.cursor ? { after: fromTextCursor(query.cursor) } : {}) });
    const page = rows.slice(0, query.limit);
    const bindings = (await projects.settings(project)).presets;
    return { presets: page.map((row) => presetView(prices, row, bindings)), next: rows.length > query.limit ? toTextCursor(page.at(-1)!.preset) : null };
  });

  route.post(
    ALL,
    { access: 'project_admin', audit: { action: 'presets.create', target: ({ body }) => body.id, details }, action: true, status: 201, summary: 'Create a preset', tag: TAG, params: ProjectParams, body: CreatePresetBody, returns: PresetShape },
    async ({ params: { project }, body, principal }) => viewOf(project, await presets.create({ project, preset: body.id, name: body.name, by: principal.name, draft: await checked(body) })),
  );

  route.get(ONE, { access: 'project_viewer', summary: 'A preset: its newest version, or another', tag: TAG, params: PresetParams, query: z.strictObject({ version: z.coerce.number().int().min(1).max(1e6).optional() }), returns: PresetShape }, async ({ params: { project, presetId }, query }) =>
    viewOf(project, await presets.get(project, { preset: presetId, ...(query.version === undefined ? {} : { version: query.version }) })),
  );

  route.get(`${ONE}/versions`, { access: 'project_viewer', summary: 'All versions of a preset, newest first', tag: TAG, params: PresetParams, query: z.strictObject(Paging), returns: PresetListShape }, async ({ params: { project, presetId }, query }) => {
    const before = query.cursor === undefined ? undefined : Number(fromTextCursor(query.cursor));
    if (before !== undefined && !Number.isSafeInteger(before)) throw new HttpProblem(400, 'The cursor is none that this API gave.');
    const rows = await presets.versions(project, presetId, { limit: query.limit + 1, before });
    const page = rows.slice(0, query.limit);
    const bindings = (await projects.settings(project)).presets;
    return { presets: page.map((row) => presetView(prices, row, bindings)), next: rows.length > query.limit ? toTextCursor(String(page.at(-1)!.version)) : null };
  });

  route.post(
    `${ONE}/versions`,
    { access: 'project_admin', audit: { action: 'presets.save', target: ({ params }) => params.presetId, details }, action: true, status: 201, summary: 'Save a new version of a preset', tag: TAG, params: PresetParams, body: SavePresetBody, returns: PresetShape },
    async ({ params: { project, presetId }, body, principal }) => viewOf(project, await presets.save({ project, preset: presetId, name: body.name, basedOn: body.basedOn, by: principal.name, draft: await checked(body) })),
  );

  route.delete(ONE, { access: 'project_admin', audit: { action: 'presets.archive', target: ({ params }) => String(params['presetId']) }, summary: 'Take a preset out of use; its versions stay readable', tag: TAG, params: PresetParams, returns: PresetShape }, async ({ params }) => {
    const { project, presetId } = params;
    return viewOf(project, await presets.archive(project, presetId));
  });

  const testView = async ({ project, id, call_id: callId, version, preset_id: preset, preset_version, transcribe, state, result, error, created_at: createdAt, created_by: createdBy, ended_at: endedAt }: PresetTestRow): Promise<z.output<typeof PresetTestShape>> => ({
    testId: id,
    callId,
    version,
    preset: preset === draftOf(id) ? 'draft' : presetStamp({ preset, version: preset_version }),
    transcribe,
    state,
    result: result && { ...result },
    error,
    costMicroUsd: (await costs.spentFor(project, presetTestReference(id))).microUsd,
    createdAt: createdAt.toISOString(),
    createdBy,
    endedAt: endedAt?.toISOString() ?? null,
  });

  route.post(
    '/v1/projects/:project/preset-tests',
    {
      access: 'project_admin',
      audit: { action: 'presets.test', target: ({ body }) => body.callId, details: ({ preset, draft, transcribe }) => ({ preset: preset ?? 'draft', transcribe, ...(draft ? details(draft) : {}) }) },
      action: true,
      status: 202,
      summary: 'Try a preset, or a draft of one, on a stored call; nothing is written to the call',
      tag: TAG,
      params: ProjectParams,
      body: TestPresetBody,
      returns: PresetTestShape,
    },
    async ({ params: { project }, body: { callId, preset, draft, transcribe }, principal, requestId }) => {
      const { version } = await calls.get({ project, callId });
      const stored = version > 0 ? await calls.getVersion({ project, callId, version }) : undefined;
      if (!(transcribe ? stored?.recording : stored?.transcript)) {
        throw new AftercallError('CONFLICT', `Call ${callId} has no stored ${transcribe ? 'recording' : 'transcript'} to test on.`, { advice: 'Choose a call that was processed.', outcome: 'refused' });
      }
      // The same request has the same ID: sent again after a crash, it goes on with what it began.
      const id = createHash('sha256').update(JSON.stringify([project, principal.id, requestId])).digest('hex').slice(0, 32);
      const ref = preset === undefined ? await presets.keepDraft({ project, id: draftOf(id), by: principal.name, basedOn: draft!.basedOn === undefined ? undefined : parseBinding(draft!.basedOn), draft: await checked(draft!) }) : await presets.choose(project, parseBinding(preset)!);
      await presetsClient.test({ call: { project, callId, version }, id, preset: ref, transcribe, by: actorOf(principal, undefined) });
      return testView(await presetTests.get(project, id));
    },
  );
  route.get('/v1/projects/:project/preset-tests/:testId', { access: 'project_viewer', summary: 'What a test of a preset has found', tag: TAG, params: PresetTestParams, returns: PresetTestShape }, async ({ params: { project, testId } }) => testView(await presetTests.get(project, testId)));
};
