import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Analysis, Verdict } from '../domain/analysis.ts';
import type { CallDetails, CallVersion } from '../domain/call.ts';
import type { PatternKind } from '../domain/patterns.ts';
import { type Database, json } from './database.ts';

/** What calls can be compared by. */
export const QUALITY_BY = ['day', 'agent', 'queue', 'category', 'direction', 'rubric'] as const;
export type QualityBy = (typeof QUALITY_BY)[number];

export interface QualityFilter {
  project: string;
  /** Start of the calls; `to` is excluded. */
  from: Date;
  to: Date;
  agent?: string | undefined;
  queue?: string | undefined;
  category?: string | undefined;
}

/** Graded calls under one heading. */
export interface QualityTotal {
  /** Null: calls that have no such name. */
  of: string | null;
  calls: number;
  averageScorePercent: number | null;
  /** Share of the scored calls that passed, 0 to 100. */
  passPercent: number | null;
  negativePercent: number;
}

/** The answers to one question over many calls. */
export interface CriterionTotal {
  of: string;
  answers: Record<Verdict, number>;
  /** Share of "yes" among the calls in which the question arose. */
  yesPercent: number | null;
}

export interface PatternTotal {
  of: PatternKind;
  calls: number;
  /** Of all graded calls. */
  sharePercent: number;
}

/** One row per call: what its newest run was graded, as it stands. Upserted by `(project, call_id)`. */
export const createQuality = (db: Database) => {
  const rowsOf = ({ project, from, to, agent, queue, category }: QualityFilter): RawBuilder<SqlBool> =>
    sql.join(
      [
        sql`project = ${project}`,
        sql`started_at >= ${from.toISOString()}::timestamptz`,
        sql`started_at < ${to.toISOString()}::timestamptz`,
        ...(agent === undefined ? [] : [sql`agent = ${agent}`]),
        ...(queue === undefined ? [] : [sql`queue = ${queue}`]),
        ...(category === undefined ? [] : [sql`category = ${category}`]),
      ],
      sql` and `,
    );

  return {
    /** Writes down how a run of a call was graded. An older run than the one that stands changes nothing. */
    async keep({ project, callId, version }: CallVersion, { details, category, analysis }: { details: CallDetails; category: string | undefined; analysis: Analysis }): Promise<void> {
      const row = {
        version,
        started_at: new Date(details.startedAtMs).toISOString(),
        agent: details.agentName ?? null,
        queue: details.queueName ?? null,
        category: category ?? null,
        direction: details.direction,
        score_percent: analysis.grading.total_score_percent,
        pass: analysis.grading.pass,
        sentiment: analysis.sentiment,
        verdicts: json(Object.fromEntries(analysis.answers.map(({ criterion, verdict }) => [criterion, verdict]))),
        patterns: [...new Set((analysis.patterns ?? []).map(({ kind }) => kind))],
        rubric: analysis.versions.rubric,
      };
      await db
        .insertInto('call_analysis')
        .values({ project, call_id: callId, ...row })
        .onConflict((conflict) => conflict.columns(['project', 'call_id']).doUpdateSet({ ...row, updated_at: sql`now()` }).where('call_analysis.version', '<=', version))
        .execute();
    },

    /** @param timeZone IANA name: whose days are meant @returns days in order, everything else by number of calls */
    async totals(filter: QualityFilter, { by, timeZone, limit }: { by: QualityBy; timeZone: string; limit: number }): Promise<QualityTotal[]> {
      const of = by === 'day' ? sql`to_char(started_at at time zone ${timeZone}, 'YYYY-MM-DD')` : sql.ref(by);
      const { rows } = await sql<{ of: string | null; calls: number; average: string | null; passed: string | null; negative: string }>`
        select ${of} as of, count(*)::int as calls, avg(score_percent) as average,
          avg(case when pass then 100 when not pass then 0 end) as passed,
          avg(case when sentiment = 'negative' then 100 else 0 end) as negative
        from call_analysis where ${rowsOf(filter)} group by 1 order by ${by === 'day' ? sql`1` : sql`2 desc, 1`} limit ${limit}`.execute(db);
      return rows.map(({ of: heading, calls, average, passed, negative }) => ({ of: heading, calls, averageScorePercent: rounded(average), passPercent: rounded(passed), negativePercent: rounded(negative)! }));
    },

    /** The questions of the rubrics that were used, the worst answered first. */
    async criteria(filter: QualityFilter, limit: number): Promise<CriterionTotal[]> {
      const { rows } = await sql<{ of: string } & Record<Verdict, number>>`
        select criterion as of,
          count(*) filter (where verdict = 'yes')::int as yes, count(*) filter (where verdict = 'no')::int as no,
          count(*) filter (where verdict = 'not_applicable')::int as not_applicable, count(*) filter (where verdict = 'not_evidenced')::int as not_evidenced
        from call_analysis, jsonb_each_text(verdicts) as answer (criterion, verdict)
        where ${rowsOf(filter)} group by 1 limit ${limit}`.execute(db);
      return rows
        .map(({ of, ...answers }) => {
          const arose = answers.yes + answers.no + answers.not_evidenced;
          return { of, answers, yesPercent: arose === 0 ? null : rounded((answers.yes / arose) * 100) };
        })
        .toSorted((a, b) => (a.yesPercent ?? 101) - (b.yesPercent ?? 101) || a.of.localeCompare(b.of));
    },

    /** What customers said, the most frequent first. */
    async patterns(filter: QualityFilter): Promise<PatternTotal[]> {
      const { rows } = await sql<{ of: PatternKind; calls: number; share: string }>`
        with chosen as materialized (select patterns from call_analysis where ${rowsOf(filter)})
        select pattern as of, count(*)::int as calls, count(*) * 100.0 / (select count(*) from chosen) as share
        from chosen, unnest(patterns) as pattern group by 1 order by 2 desc, 1`.execute(db);
      return rows.map(({ of, calls, share }) => ({ of, calls, sharePercent: rounded(share)! }));
    },
  };
};

export type Quality = ReturnType<typeof createQuality>;

/** To one decimal. PostgreSQL hands numerics over as text. */
const rounded = (value: string | number | null): number | null => (value === null ? null : Math.round(Number(value) * 10) / 10);
