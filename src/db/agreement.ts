import { sql } from 'kysely';
import { type Agreement, type AgreementFloor, agreementOf, type AnswerPair, isAdvisory } from '../domain/agreement.ts';
import type { AdvisoryQuestion } from '../domain/review.ts';
import { type Database, json } from './database.ts';

export interface AgreementFilter {
  project: string;
  /** `id@version`. */
  rubric?: string;
  model?: string;
  /** As it is stamped on an analysis: `<preset>@<version>`. */
  preset?: string;
  /** When the reviews were made. */
  from?: Date;
  to?: Date;
}

export interface QuestionAgreement {
  rubric: string;
  criterion: string;
  agreement: Agreement;
}

/** All that a person may answer. */
const CATEGORIES = ['yes', 'no', 'not_applicable'] as const;

/** A question that always arises has two answers, unless somebody has said otherwise. */
const categoriesOf = (pairs: readonly AnswerPair[], optional: boolean): string[] =>
  CATEGORIES.filter((category) => category !== 'not_applicable' || optional || pairs.some(({ person, model }) => person === category || model === category));

export const createAgreement = (db: Database) => {
  /**
   * What people said, beside what the model had said: the last word on each answer of each analysis.
   *
   * An answer counts once, also when its analysis was taken over by later versions. Only people's count: a
   * machine's opinion of a machine is no measure.
   */
  const pairs = async ({ project, rubric, model, preset, from, to }: AgreementFilter): Promise<{ rubric: string; criterion: string; optional: boolean; pair: AnswerPair; n: number }[]> => {
    const { rows } = await sql<{ rubric: string; criterion: string; optional: boolean; person: string; claimed: string; n: number }>`
      with reviewed as (
        select distinct call_id, analysis_version from reviews
        where project = ${project} and verdicts is not null ${rubric === undefined ? sql`` : sql`and stamps ->> 'rubric' = ${rubric}`}
      ), newest as (
        select r.call_id, r.analysis_version, max(r.version) as version from reviews r join reviewed using (call_id, analysis_version) where r.project = ${project} group by 1, 2
      ), standing as (
        select distinct on (r.call_id, r.analysis_version, said.criterion)
          r.stamps, said.criterion, said.person, r.claimed ->> said.criterion as claimed, r.by_kind, r.at
        from reviews r
        join newest using (call_id, analysis_version, version)
        cross join lateral jsonb_each_text(r.verdicts) as said (criterion, person)
        where r.project = ${project} and r.verdicts is not null
          and not exists (select from reviews u where u.project = r.project and u.call_id = r.call_id and u.version = r.version and u.undoes = r.revision)
        order by r.call_id, r.analysis_version, said.criterion, r.revision desc
      )
      select stamps ->> 'rubric' as rubric, criterion, jsonb_exists(stamps -> 'optional', criterion) as optional, person, claimed, count(*)::int as n from standing
      where by_kind = 'user' and claimed is not null
        ${model === undefined ? sql`` : sql`and stamps ->> 'model' = ${model}`}
        ${preset === undefined ? sql`` : sql`and stamps ->> 'preset' = ${preset}`}
        ${from === undefined ? sql`` : sql`and at >= ${from.toISOString()}::timestamptz`}
        ${to === undefined ? sql`` : sql`and at < ${to.toISOString()}::timestamptz`}
      group by 1, 2, 3, 4, 5 order by 1, 2`.execute(db);
    return rows.map(({ rubric: of, criterion, optional, person, claimed, n }) => ({ rubric: of, criterion, optional, pair: { person, model: claimed }, n }));
  };

  return {
    /** Per rubric and question, those that nobody has reviewed left out. */
    async list(filter: AgreementFilter): Promise<QuestionAgreement[]> {
      const byQuestion = Map.groupBy(await pairs(filter), ({ rubric, criterion }) => JSON.stringify([rubric, criterion]));
      return [...byQuestion.values()].map((counts) => {
        const all = counts.flatMap(({ pair, n }) => Array.from({ length: n }, () => pair));
        return { rubric: counts[0]!.rubric, criterion: counts[0]!.criterion, agreement: agreementOf(all, categoriesOf(all, counts.some(({ optional }) => optional))) };
      });
    },

    /** Writes down how a rubric's questions stand now. To be called after its reviews have changed. */
    async settle(project: string, rubric: string): Promise<void> {
      const questions = await this.list({ project, rubric });
      for (const { criterion, agreement: { n, raw, kappa, ac1 } } of questions) {
        await db
          .insertInto('question_standings')
          .values({ project, rubric, criterion, agreement: json({ n, raw, kappa, ac1 }) })
          .onConflict((conflict) => conflict.columns(['project', 'rubric', 'criterion']).doUpdateSet({ agreement: json({ n, raw, kappa, ac1 }) }))
          .execute();
      }
    },

    /** Questions that count for nothing at present, as JSON of rubric and question. */
    async setAside(project: string): Promise<Set<string>> {
      const rows = await db.selectFrom('question_standings').select(['rubric', 'criterion']).where('project', '=', project).where('advisory', '=', true).execute();
      return new Set(rows.map(({ rubric, criterion }) => JSON.stringify([rubric, criterion])));
    },

    /** The rubric's questions that count for nothing, by its reviews so far and the project's floor. */
    async advisory(project: string, rubric: string, floor: AgreementFloor | undefined): Promise<AdvisoryQuestion[]> {
      const rows = await db.selectFrom('question_standings').selectAll().where('project', '=', project).where('rubric', '=', rubric).orderBy('criterion').execute();
      const found: AdvisoryQuestion[] = [];
      for (const { criterion, agreement, advisory: was } of rows) {
        const is = isAdvisory(agreement, floor, was);
        if (is !== was) {
          await db
            .updateTable('question_standings')
            .set({ advisory: is, changed_at: sql`now()` })
            .where('project', '=', project)
            .where('rubric', '=', rubric)
            .where('criterion', '=', criterion)
            .execute();
        }
        if (is && floor) found.push({ criterion, measure: floor.measure, value: agreement[floor.measure]?.value ?? null, n: agreement.n });
      }
      return found;
    },
  };
};

export type AgreementRecords = ReturnType<typeof createAgreement>;
