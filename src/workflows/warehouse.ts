import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { continueAsNew, log, ParentClosePolicy, sleep, startChild } from '@temporalio/workflow';
import { queueName } from '../domain/activities.ts';
import { warehouseCompactWorkflowId } from '../domain/ids.ts';
import type { CompactWarehouseInput, LoadWarehouseInput, WarehouseSummary } from '../domain/warehouse.ts';
import { warehouseActivities } from './proxies.ts';

/** A thousand changes each: an outage of a day is caught up with in a few runs of this. */
const BATCHES_PER_RUN = 100;
const ROUNDS_PER_RUN = 200;

/**
 * Loads what a project's warehouse has not been told of, batch by batch, until nothing is left.
 *
 * One that cannot be loaded ends the run and stays where it is: the next run begins with it. Snowflake is told of what
 * is in the files, so that its being down holds up nothing else.
 */
export async function loadWarehouse(input: LoadWarehouseInput): Promise<WarehouseSummary> {
  const { project, pace, sinks, graceMs } = input;
  const { loadBatch } = warehouseActivities(pace);
  const summary: WarehouseSummary = input.summary ?? { batches: 0, units: 0, rows: 0, failed: [] };
  let batches = 0;
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
  return summary;
}

const compactNow = async (input: CompactWarehouseInput): Promise<void> => {
  try {
    await startChild('compactWarehouse', { workflowId: warehouseCompactWorkflowId(input.project), taskQueue: queueName('workflows'), args: [input], parentClosePolicy: ParentClosePolicy.ABANDON });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
};

/**
 * Puts each day's small files together, and removes them when no query can be reading them any more.
 *
 * It may end anywhere: what is put together stays so, and the rest is done by the next.
 */
export async function compactWarehouse(input: CompactWarehouseInput): Promise<{ partitions: number; swept: number }> {
  const { project, pace, graceMs } = input;
  const { compactSome, sweepFiles } = warehouseActivities(pace);
  let partitions = input.partitions ?? 0;
  for (let rounds = 1; ; rounds += 1) {
    const some = await compactSome({ project });
    partitions += some.partitions;
    if (!some.more) break;
    if (rounds >= ROUNDS_PER_RUN) await continueAsNew<typeof compactWarehouse>({ ...input, partitions });
  }
  await sleep(graceMs);
  return { partitions, swept: await sweepFiles({ project, olderThanMs: graceMs }) };
}
