import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { condition, continueAsNew, defineSignal, getExternalWorkflowHandle, isCancellation, log, ParentClosePolicy, patched, setHandler, startChild } from '@temporalio/workflow';
import { queueName } from '../domain/activities.ts';
import { warehouseCompactWorkflowId, warehouseLoadWorkflowId } from '../domain/ids.ts';
import { AGAIN_SIGNAL, type CompactWarehouseInput, type LoadWarehouseInput, type WarehouseSink, type WarehouseSummary } from '../domain/warehouse.ts';
import { warehouseActivities } from './proxies.ts';

/** A thousand changes each: an outage of a day is caught up with in a few runs of this. */
const BATCHES_PER_RUN = 100;
const ROUNDS_PER_RUN = 200;

/**
 * Loads what a project's warehouse has not been told of, batch by batch, until nothing is left.
 *
 * One that cannot be loaded ends the run and stays where it is: the next run begins with it. Snowflake is told of what
 * is in the files, and loaded by a workflow of its own, so that its being down, or being built anew, holds up nothing else.
 */
export async function loadWarehouse(input: LoadWarehouseInput): Promise<WarehouseSummary> {
  const { project, pace, sinks, graceMs } = input;
  const { loadBatch } = warehouseActivities(pace);
  const summary: WarehouseSummary = input.summary ?? { batches: 0, units: 0, rows: 0, failed: [] };
  let batches = 0;
  let again = false;
  setHandler(againSignal, () => {
    again = true;
  });
  do {
    again = false;
    for (const sink of sinks) {
      for (let more = true; more; ) {
        if (batches >= BATCHES_PER_RUN) await continueAsNew<typeof loadWarehouse>({ ...input, sinks: sinks.slice(sinks.indexOf(sink)), summary });
        try {
          const batch = await loadBatch({ project, sink });
          batches += 1;
          if (batch.units > 0) summary.batches += 1;
          summary.units += batch.units;
          summary.rows += batch.rows;
          more = batch.more;
          // Until they are put together again, the files still hold what was there before.
          if (batch.rebuilt && sink === 'files') await compactNow({ project, pace, graceMs });
        } catch (error) {
          log.warn('not loaded, the next run goes on here', { project, sink, error: String(error) });
          summary.failed.push(sink);
          more = false;
        }
      }
    }
    // What a person asks for, or the files have brought, while the last batch ends.
  } while (again);
  if (summary.units > 0) for (const sink of input.next ?? []) await loadNext(input, sink);
  return summary;
}

/** Runs from before another could be told to look again leave it as it is. */
const AGAIN = 'again';
const againSignal = defineSignal(AGAIN_SIGNAL);
/** Between being found to run and being told, one may have ended; hardly twice. */
const TRIES = 3;

/** Starts a workflow beside this one, or has the one that runs look once more. */
const startOrTell = async (workflowType: string, workflowId: string, input: object): Promise<void> => {
  for (let tries = 1; ; tries += 1) {
    try {
      await startChild(workflowType, { workflowId, taskQueue: queueName('workflows'), args: [input], parentClosePolicy: ParentClosePolicy.ABANDON });
      return;
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
    if (!patched(AGAIN)) return;
    try {
      await getExternalWorkflowHandle(workflowId).signal(againSignal);
      return;
    } catch (error) {
      if (isCancellation(error) || tries >= TRIES) throw error;
    }
  }
};

const loadNext = ({ project, pace, graceMs }: LoadWarehouseInput, sink: WarehouseSink): Promise<void> => startOrTell('loadWarehouse', warehouseLoadWorkflowId(project, sink), { project, pace, graceMs, sinks: [sink] } satisfies LoadWarehouseInput);
const compactNow = (input: CompactWarehouseInput): Promise<void> => startOrTell('compactWarehouse', warehouseCompactWorkflowId(input.project), input);

/**
 * Puts each day's small files together, and removes them when no query can be reading them any more.
 *
 * It may end anywhere: what is put together stays so, and the rest is done by the next. What cannot be put together
 * keeps nothing from being removed.
 */
export async function compactWarehouse(input: CompactWarehouseInput): Promise<{ partitions: number; swept: number }> {
  const { project, pace, graceMs } = input;
  const { compactSome, sweepFiles } = warehouseActivities(pace);
  let again = false;
  setHandler(againSignal, () => {
    again = true;
  });
  let partitions = input.partitions ?? 0;
  let swept = 0;
  let failure: { error: unknown } | undefined;
  let rounds = 0;
  do {
    again = false;
    failure = undefined;
    for (let more = true; more; ) {
      try {
        const some = await compactSome({ project });
        rounds += 1;
        partitions += some.partitions;
        more = some.more;
      } catch (error) {
        if (isCancellation(error)) throw error;
        failure = { error };
        more = false;
      }
      if (more && rounds >= ROUNDS_PER_RUN) await continueAsNew<typeof compactWarehouse>({ ...input, partitions });
    }
    if (await condition(() => again, graceMs)) continue;
    swept += await sweepFiles({ project, olderThanMs: graceMs });
  } while (again);
  if (failure) throw failure.error;
  return { partitions, swept };
}
