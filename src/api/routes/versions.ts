import { z } from 'zod';
import type { CostRow } from '../../db/costs.ts';
import { compareAnalyses, compareTranscripts } from '../../domain/compare.ts';
import type { CallVersion } from '../../domain/call.ts';
import { withSpeakers } from '../../domain/review.ts';
import type { Transcript } from '../../domain/transcript.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { CallParams, VersionShape } from '../shapes.ts';
import { versionView } from './calls.ts';

const TAG = 'Calls';
const CALL = '/v1/projects/:project/calls/:callId';
const number = z.coerce.number().int().min(1).max(1_000_000);
const anything = z.record(z.string(), z.unknown());

const CostsShape = z.object({ microUsd: z.number(), requests: z.number() });
const FullVersionShape = VersionShape.extend({ analysis: anything.nullable(), transcriptText: anything.nullable(), costs: CostsShape });
const sides = <T extends z.ZodType>(shape: T) => z.object({ from: shape, to: shape });
const verdict = z.string().nullable();
const ComparisonShape = z.object({
  versions: sides(z.number()),
  score: z.object({ from: z.number().nullable(), to: z.number().nullable(), difference: z.number().nullable() }),
  questions: z.array(z.object({ criterion: z.string(), from: verdict, to: verdict, changed: z.boolean(), quotes: z.object({ kept: z.array(z.string()), gone: z.array(z.string()), fresh: z.array(z.string()) }) })),
  /** Null where one of them has none. */
  transcript: z
    .object({
      turns: sides(z.number()),
      words: z.object({ from: z.number(), to: z.number(), gone: z.number(), fresh: z.number() }),
      speakers: sides(z.array(z.string())),
      same: z.boolean(),
    })
    .nullable(),
  madeBy: sides(z.object({ speech: z.string().nullable(), model: z.string().nullable(), preset: z.string().nullable(), rubric: z.string().nullable(), prompt: z.string().nullable() })),
  crm: sides(z.object({ scenario: z.string(), action: z.string(), reasons: z.array(z.string()) }).nullable()),
  costs: sides(CostsShape),
});

/** Every run of a call as it was: what it heard, how it graded, what it decided, what it cost. */
export const versionRoutes = (route: RouteTable, { calls, costs, objects }: ApiDependencies): void => {
  /** A version whose transcript was replaced before copies were kept has none. */
  const load = async (version: CallVersion) => {
    const row = await calls.getVersion(version);
    const key = row.transcript && (row.transcript.versionKey ?? ((await calls.get(version)).version === version.version ? row.transcript.key : undefined));
    const text = key && (await objects.getText(key));
    // As reviews leave it: who speaks, and what counts.
    const speakers = [row.transcript?.speakers, row.effective?.review?.speakers];
    return { row, transcript: text ? speakers.reduce<Transcript>((transcript, names) => (names ? withSpeakers(transcript, names) : transcript), JSON.parse(text) as Transcript) : undefined };
  };
  const paid = (rows: CostRow[], version: number): z.output<typeof CostsShape> => {
    const own = rows.filter((row) => row.version === version);
    return { requests: own.length, microUsd: own.reduce((sum, { microUsd }) => sum + microUsd, 0) };
  };

  route.get(`${CALL}/versions`, { access: 'project_viewer', summary: 'Every run of a call, newest first', tag: TAG, params: CallParams, returns: z.object({ versions: z.array(VersionShape) }) }, async ({ params }) => {
    await calls.get(params);
    return { versions: (await calls.listVersions(params)).map(versionView) };
  });

  route.get(`${CALL}/versions/:version`, { access: 'project_viewer', summary: 'One run of a call with its transcript and analysis', tag: TAG, params: CallParams.extend({ version: number }), returns: FullVersionShape }, async ({ params: { version, ...key } }) => {
    const { row, transcript } = await load({ ...key, version });
    return { ...versionView(row), analysis: row.effective && { ...row.effective }, transcriptText: transcript ? { ...transcript } : null, costs: paid(await costs.list(key.project, key.callId), version) };
  });

  route.get(
    `${CALL}/compare`,
    { access: 'project_viewer', summary: 'Two runs of a call side by side', tag: TAG, params: CallParams, query: z.strictObject({ from: number, to: number }), returns: ComparisonShape },
    async ({ params, query }) => {
      if (query.from === query.to) throw new HttpProblem(400, 'from and to are the same version.');
      const [from, to, spent] = await Promise.all([load({ ...params, version: query.from }), load({ ...params, version: query.to }), costs.list(params.project, params.callId)]);
      const madeBy = ({ row: { transcript, analysis, preset } }: typeof from) => ({
        speech: transcript && `${transcript.provider}/${transcript.model}`,
        model: analysis && `${analysis.versions.provider}/${analysis.versions.model}`,
        preset: preset ? `${preset.preset}@${preset.version}` : null,
        rubric: analysis?.versions.rubric ?? null,
        prompt: analysis?.versions.prompt ?? null,
      });
      const crmOf = ({ row: { crm } }: typeof from) => crm && { scenario: crm.scenario, action: crm.action, reasons: crm.reasons };
      return {
        versions: query,
        ...compareAnalyses(from.row.effective, to.row.effective),
        transcript: compareTranscripts(from.transcript, to.transcript),
        madeBy: { from: madeBy(from), to: madeBy(to) },
        crm: { from: crmOf(from), to: crmOf(to) },
        costs: { from: paid(spent, query.from), to: paid(spent, query.to) },
      };
    },
  );
};
