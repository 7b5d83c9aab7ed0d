import { randomUUID } from 'node:crypto';
import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import type { ProjectSettings } from '../domain/settings.ts';
import type { UnitKind, WarehouseSink } from '../domain/warehouse.ts';
import type { UnitRows } from '../domain/warehouse-rows.ts';
import { type Database, json } from './database.ts';
import type { Schema } from './schema.ts';
import { type ChangedUnit, readUnits } from './warehouse-units.ts';

type Tx = Transaction<Schema>;

/** A batch of changes that a load is under way with. */
export interface Batch {
  loadId: number;
  changed: ChangedUnit[];
}

/** The right to load or compact a project: nobody else does while it holds. */
export interface Lease {
  project: string;
  sink: WarehouseSink;
  token: string;
}

export interface Failure {
  code: string;
  message: string;
  advice: string;
}

export interface SinkStatus {
  sink: WarehouseSink;
  loads: number;
  rows: number;
  loadedAt: Date | null;
  compactedAt: Date | null;
  failure: (Failure & { at: Date }) | null;
  /** Somebody is at it now. */
  busy: boolean;
  rebuilding: boolean;
  /** Since when it is told of nothing, as it is not configured; once it is again, it is built anew. */
  missedSince: Date | null;
  /** Changes that wait; from `MOST_COUNTED` on that many. */
  waiting: number;
  oldestWaitingAt: Date | null;
}

export const MOST_COUNTED = 100_000;
/** A batch: its rows are held in memory, a call with all its answers being twenty or thirty. */
const CHANGES_AT_ONCE = 1_000;

/** Later loads have greater numbers, also after the database was put back to an earlier state. */
const nextLoad = sql<number>`greatest(last_load + 1, (extract(epoch from now()) * 1000)::bigint)`;

/**
 * What the warehouse has still to be told of, who is telling it, and how far they are.
 *
 * Every writing step needs the lease: a loader that was given up for dead can neither finish a batch nor begin one.
 */
export const createWarehouseBooks = (db: Database) => {
  const sinkRow = async (on: Kysely<Schema>, project: string, sink: WarehouseSink): Promise<boolean> => {
    const made = await on.insertInto('warehouse_sinks').values({ project, sink }).onConflict((conflict) => conflict.doNothing()).returning('sink').executeTakeFirst();
    return made !== undefined;
  };

  /** Runs a step if the lease still holds, and keeps others from taking it meanwhile. */
  const held = <T>({ project, sink, token }: Lease, step: (tx: Tx, lastLoad: number) => Promise<T>): Promise<T> =>
    db.transaction().execute(async (tx) => {
      const row = await tx.selectFrom('warehouse_sinks').select('last_load').where('project', '=', project).where('sink', '=', sink).where('lease', '=', token).forUpdate().executeTakeFirst();
      if (!row) throw new AftercallError('CONFLICT', `Another process has taken over loading project ${project} to ${sink}.`, { advice: 'Nothing to do: it goes on with the batch.' });
      return step(tx, Number(row.last_load));
    });

  /** Notes every unit of a project as changed. */
  const noteAll = async (tx: Tx, project: string, sink: WarehouseSink): Promise<void> => {
    const day = (time: string): RawBuilder<unknown> => sql.raw(`(${time} at time zone 'UTC')::date`);
    // In the order of their days, so that a batch touches few partitions.
    const note = (kind: UnitKind, table: string, unit: string, of: RawBuilder<unknown>) =>
      sql`insert into warehouse_changes (project, sink, kind, unit, dt) select project, ${sink}, ${kind}, ${sql.ref(unit)}, ${of} as dt from ${sql.table(table)} where project = ${project} order by dt`.execute(tx);
    await note('call', 'calls', 'call_id', day('started_at'));
    await note('voice', 'voice_calls', 'id', day('coalesce(started_at, requested_at)'));
    await note('cost', 'costs', 'key', sql.raw('day'));
    await note('effect', 'effects', 'key', day('planned_at'));
    await note('tracking', 'tracking_events', 'id', day('occurred_at'));
  };

  const rebuild = async (tx: Tx, project: string, sink: WarehouseSink): Promise<void> => {
    // First: a load that began meanwhile would have a number below the one from which on rows count, and change after what was noted.
    await tx.selectFrom('warehouse_sinks').select('sink').where('project', '=', project).where('sink', '=', sink).forUpdate().execute();
    // What waits is noted again, or goes as its rows are of earlier loads: however often this is asked for, the queue grows no longer.
    await tx.deleteFrom('warehouse_changes').where('project', '=', project).where('sink', '=', sink).where('load_id', 'is', null).execute();
    await noteAll(tx, project, sink);
    await sql`update warehouse_sinks set missed_since = null, last_load = ${nextLoad}, rebuild_load = ${nextLoad},
        rebuild_until = (select coalesce(max(id), 0) from warehouse_changes where project = ${project} and sink = ${sink})
      where project = ${project} and sink = ${sink}`.execute(tx);
  };

  /** Ends building anew if nothing of it is left: rows of earlier loads count for nothing from now on. @returns whether it has ended */
  const endRebuild = async (tx: Tx, { project, sink }: Lease): Promise<boolean> => {
    const { rows } = await sql`update warehouse_sinks set floor_load = rebuild_load, rebuild_load = null, rebuild_until = null, edition = edition + 1
      where project = ${project} and sink = ${sink} and rebuild_until is not null and missed_since is null
        and not exists (select from warehouse_changes where project = ${project} and sink = ${sink} and id <= rebuild_until) returning 1`.execute(tx);
    return rows.length > 0;
  };

  return {
    /**
     * Takes the lease for a while.
     *
     * A sink that is new, or that was left out for a while, is told of everything there is.
     * @returns undefined when somebody else has it
     */
    async lease(project: string, sink: WarehouseSink, forMs: number): Promise<Lease | undefined> {
      const token = randomUUID();
      return db.transaction().execute(async (tx) => {
        // Files have been told of by the triggers from the beginning.
        const isNew = (await sinkRow(tx, project, sink)) && sink !== 'files';
        const { rows } = await sql<{ missed: boolean }>`update warehouse_sinks set lease = ${token}, lease_until = clock_timestamp() + ${forMs} * interval '1 millisecond'
          where project = ${project} and sink = ${sink} and (lease is null or lease_until < clock_timestamp()) returning missed_since is not null as missed`.execute(tx);
        if (!rows[0]) return undefined;
        if (isNew || rows[0].missed) await rebuild(tx, project, sink);
        return { project, sink, token };
      });
    },

    /** @throws CONFLICT when somebody else has taken it meanwhile */
    renew: (lease: Lease, forMs: number): Promise<void> =>
      held(lease, async (tx) => {
        await sql`update warehouse_sinks set lease_until = clock_timestamp() + ${forMs} * interval '1 millisecond' where project = ${lease.project} and sink = ${lease.sink}`.execute(tx);
      }),

    async release({ project, sink, token }: Lease): Promise<void> {
      await db.updateTable('warehouse_sinks').set({ lease: null, lease_until: null }).where('project', '=', project).where('sink', '=', sink).where('lease', '=', token).execute();
    },

    /**
     * Takes up changes: those of a load that was not finished, under its number, or the oldest that wait.
     *
     * They are taken by their own keys. A change that is committed later, though it was made earlier, waits for the next.
     */
    take: (lease: Lease): Promise<Batch | undefined> =>
      held(lease, async (tx) => {
        const { project, sink } = lease;
        const open = await tx.selectFrom('warehouse_changes').select((eb) => eb.fn.min('load_id').as('load_id')).where('project', '=', project).where('sink', '=', sink).where('load_id', 'is not', null).executeTakeFirst();
        let loadId = open?.load_id === null || open === undefined ? undefined : Number(open.load_id);
        if (loadId === undefined) {
          const { rows } = await sql<{ id: number }>`select id from warehouse_changes where project = ${project} and sink = ${sink} and load_id is null order by id limit ${CHANGES_AT_ONCE}`.execute(tx);
          if (rows.length === 0) return undefined;
          const numbered = await sql<{ last_load: number }>`update warehouse_sinks set last_load = ${nextLoad} where project = ${project} and sink = ${sink} returning last_load`.execute(tx);
          loadId = Number(numbered.rows[0]!.last_load);
          await sql`update warehouse_changes set load_id = ${loadId} where id = any(${sql.val(rows.map(({ id }) => String(id)))}::bigint[])`.execute(tx);
        }
        const { rows } = await sql<{ kind: UnitKind; unit: string; days: string[] }>`
          select kind, unit, coalesce(array_agg(distinct dt::text) filter (where dt is not null), '{}') as days
          from warehouse_changes where project = ${project} and sink = ${sink} and load_id = ${loadId} group by 1, 2 order by 1, 2`.execute(tx);
        return { loadId, changed: rows };
      }),

    /** The changed units as they are now, all as of one moment. */
    read: (project: string, changed: readonly ChangedUnit[], settings: ProjectSettings): Promise<UnitRows[]> =>
      db
        .transaction()
        .setIsolationLevel('repeatable read')
        .execute((tx) => readUnits(tx, project, changed, settings)),

    /**
     * Crosses a batch off, which is loaded now.
     *
     * @param passOn where the same units are to be loaded next
     * @param files that were written with it; others that an attempt before had planned for it count for nothing
     * @returns whether that was the last one of building everything anew, and whether more changes wait
     */
    finish: (lease: Lease, { loadId }: Batch, { rows, passOn, files = [] }: { rows: number; passOn?: WarehouseSink | undefined; files?: readonly string[] }): Promise<{ rebuilt: boolean; more: boolean }> =>
      held(lease, async (tx) => {
        const { project, sink } = lease;
        if (sink === 'files') {
          await sql`update warehouse_files set done = true, superseded_at = case when key = any(${sql.val([...files])}::text[]) then null else clock_timestamp() end
            where project = ${project} and form = 'json' and load_id = ${loadId} and not done`.execute(tx);
        }
        if (passOn) {
          await sql`insert into warehouse_changes (project, sink, kind, unit, dt)
            select distinct project, ${passOn}, kind, unit, dt from warehouse_changes where project = ${project} and sink = ${sink} and load_id = ${loadId}`.execute(tx);
        } else if (sink === 'files') {
          // What waits for a sink that is not connected names calls, and is of no use: it is built anew when it is connected again.
          await tx.deleteFrom('warehouse_changes').where('project', '=', project).where('sink', '<>', 'files').execute();
          await sql`update warehouse_sinks set missed_since = now() where project = ${project} and sink <> 'files' and missed_since is null`.execute(tx);
        }
        await tx.deleteFrom('warehouse_changes').where('project', '=', project).where('sink', '=', sink).where('load_id', '=', loadId).execute();
        await sql`update warehouse_sinks set loads = loads + 1, edition = edition + 1, rows = rows + ${rows}, loaded_at = now(), error = null, failed_at = null where project = ${project} and sink = ${sink}`.execute(tx);
        const rebuilt = await endRebuild(tx, lease);
        const { rows: left } = await sql`select 1 from warehouse_changes where project = ${project} and sink = ${sink} limit 1`.execute(tx);
        return { rebuilt, more: left.length > 0 };
      }),

    /**
     * If a batch is the last one of building everything anew: the load from which on rows count then.
     *
     * @param batch undefined: there was nothing to load
     */
    floorAfter: (lease: Lease, batch: Batch | undefined): Promise<number | undefined> =>
      held(lease, async (tx) => {
        const { project, sink } = lease;
        const others = batch ? sql`and c.load_id is distinct from ${batch.loadId}` : sql``;
        // One that was told of nothing meanwhile has an empty queue, too, and is to begin again.
        const { rows } = await sql<{ rebuild_load: number }>`select rebuild_load from warehouse_sinks s where project = ${project} and sink = ${sink} and rebuild_until is not null and missed_since is null
          and not exists (select from warehouse_changes c where c.project = s.project and c.sink = s.sink and c.id <= s.rebuild_until ${others})`.execute(tx);
        return rows[0] && Number(rows[0].rebuild_load);
      }),

    /** Ends building anew where there was nothing to load. @returns whether it has ended */
    endRebuild: (lease: Lease): Promise<boolean> => held(lease, (tx) => endRebuild(tx, lease)),

    /** From which load on rows count. */
    async floorOf(project: string, sink: WarehouseSink): Promise<number> {
      const row = await db.selectFrom('warehouse_sinks').select('floor_load').where('project', '=', project).where('sink', '=', sink).executeTakeFirst();
      return Number(row?.floor_load ?? 0);
    },

    /** Has everything loaded anew; what is there is shown until that is done. */
    async rebuild(project: string, sinks: readonly WarehouseSink[]): Promise<void> {
      await db.transaction().execute(async (tx) => {
        for (const sink of sinks) {
          await sinkRow(tx, project, sink);
          await rebuild(tx, project, sink);
        }
      });
    },

    /** Sinks beside those given that a load was begun to once, if not ended: what goes now may stay there until they are connected again. */
    async outOfReach(project: string, reached: readonly WarehouseSink[]): Promise<WarehouseSink[]> {
      const rows = await db.selectFrom('warehouse_sinks').select('sink').where('project', '=', project).where('sink', '<>', 'files').where('last_load', '>', 0).orderBy('sink').execute();
      return rows.map(({ sink }) => sink).filter((sink) => !reached.includes(sink));
    },

    async fail(project: string, sink: WarehouseSink, failure: Failure): Promise<void> {
      await db.updateTable('warehouse_sinks').set({ error: json(failure), failed_at: sql`now()` }).where('project', '=', project).where('sink', '=', sink).execute();
    },

    async compacted(project: string): Promise<void> {
      await db.updateTable('warehouse_sinks').set({ compacted_at: sql`now()` }).where('project', '=', project).where('sink', '=', 'files').execute();
    },

    /** How far loads have come, whatever waits: by the sink's own row, as each question to the warehouse asks this. */
    async watermark(project: string, sink: WarehouseSink): Promise<{ asOf: Date | null; edition: number }> {
      const row = await db.selectFrom('warehouse_sinks').select(['loaded_at', 'edition']).where('project', '=', project).where('sink', '=', sink).executeTakeFirst();
      return { asOf: row?.loaded_at ?? null, edition: Number(row?.edition ?? 0) };
    },

    async status(project: string): Promise<SinkStatus[]> {
      const { rows } = await sql<{ sink: WarehouseSink; loads: number; rows: number; loaded_at: Date | null; compacted_at: Date | null; error: Failure | null; failed_at: Date | null; busy: boolean; rebuilding: boolean; missed_since: Date | null; waiting: number; oldest: Date | null }>`
        select sink, loads, rows, loaded_at, compacted_at, error, failed_at,
          coalesce(lease_until > clock_timestamp(), false) as busy, rebuild_until is not null as rebuilding, missed_since,
          (select count(*)::int from (select 1 from warehouse_changes c where c.project = s.project and c.sink = s.sink limit ${MOST_COUNTED}) waiting) as waiting,
          (select at from warehouse_changes c where c.project = s.project and c.sink = s.sink order by id limit 1) as oldest
        from (select project, sink, loads, rows, loaded_at, compacted_at, error, failed_at, lease_until, rebuild_until, missed_since from warehouse_sinks where project = ${project}
          union all select ${project}, 'files', 0, 0, null, null, null, null, null, null, null where not exists (select from warehouse_sinks where project = ${project} and sink = 'files')) s
        order by sink`.execute(db);
      return rows.map((row) => ({
        sink: row.sink,
        loads: Number(row.loads),
        rows: Number(row.rows),
        loadedAt: row.loaded_at,
        compactedAt: row.compacted_at,
        failure: row.error && row.failed_at ? { ...row.error, at: row.failed_at } : null,
        busy: row.busy,
        rebuilding: row.rebuilding,
        missedSince: row.missed_since,
        waiting: row.waiting,
        oldestWaitingAt: row.oldest,
      }));
    },
  };
};

export type WarehouseBooks = ReturnType<typeof createWarehouseBooks>;
