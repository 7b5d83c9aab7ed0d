import { continueAsNew, patched, sleep } from '@temporalio/workflow';
import type { EraseCallsInput, Places } from '../domain/erasure.ts';
import type { WarehouseSink } from '../domain/warehouse.ts';
import { erasureActivities, warehouseActivities } from './proxies.ts';

const PAGES_PER_RUN = 200;

/**
 * Erases the calls that were written down for it, page by page.
 *
 * Its own history holds the IDs of calls at most. What is erased is crossed off the list, so whoever takes
 * it up goes on with what is left.
 */
export async function eraseCalls(input: EraseCallsInput): Promise<void> {
  const { project, erasureId, pace } = input;
  const { eraseSome, eraseLate, certifyErasure } = erasureActivities(pace);
  let pages = 0;
  const turnPage = async (): Promise<void> => {
    pages += 1;
    if (pages >= PAGES_PER_RUN) await continueAsNew<typeof eraseCalls>(input);
  };
  let late = 0;
  for (;;) {
    const some = await eraseSome({ project, erasureId });
    late = some.late;
    if (some.left === 0) break;
    await turnPage();
  }
  if (late > 0) {
    // A step that was under way learns with its next beat that its workflow is gone.
    await sleep(2 * pace.heartbeatTimeoutMs);
    while ((await eraseLate({ project, erasureId })).left > 0) await turnPage();
  }
  const erased = input.warehouse ? await forgetInWarehouse(input, input.warehouse) : {};
  await certifyErasure({ project, erasureId, ...(Object.keys(erased).length > 0 ? { erased } : {}), ...(input.warehouse ? { sinks: input.warehouse.sinks } : {}) });
}

/** Longer than a query takes to find its files; one that is cut off by it may be asked again. */
const MOST_GRACE_MS = 60_000;

/** Erasures that were under way when files came to go first keep to the order that they began with. */
const FILES_FIRST = 'files-of-the-warehouse-first';

/**
 * Has the warehouse forget what the database has: the calls' rows are taken back, and files that held them written anew.
 *
 * The files first, which wait for nobody: what cannot be reached at the moment keeps nothing else from going.
 *
 * @returns how many files were removed for it
 */
const forgetInWarehouse = async (input: EraseCallsInput, warehouse: NonNullable<EraseCallsInput['warehouse']>): Promise<Places> => {
  const { project, pace } = input;
  const { sinks, graceMs } = warehouse;
  const { loadBatch, compactSome, sweepFiles } = warehouseActivities(pace, { patient: true });
  let swept = warehouse.swept;
  let rounds = 0;
  const untilDone = async (some: () => Promise<{ more: boolean }>): Promise<void> => {
    while ((await some()).more) {
      rounds += 1;
      if (rounds >= PAGES_PER_RUN) await continueAsNew<typeof eraseCalls>({ ...input, warehouse: { ...warehouse, ...(swept === undefined ? {} : { swept }) } });
    }
  };
  const load = (sink: WarehouseSink): Promise<void> => untilDone(() => loadBatch({ project, sink }));
  const others = sinks.filter((sink) => sink !== 'files');
  const isFilesFirst = others.length === 0 || patched(FILES_FIRST);
  if (!isFilesFirst) for (const sink of sinks) await load(sink);
  if (swept === undefined) {
    if (isFilesFirst) await load('files');
    await untilDone(() => compactSome({ project, deletedOnly: true }));
    const waitMs = Math.min(graceMs, MOST_GRACE_MS);
    await sleep(waitMs);
    swept = await sweepFiles({ project, olderThanMs: waitMs });
  }
  if (isFilesFirst) for (const sink of others) await load(sink);
  return swept > 0 ? { 'files of the warehouse': swept } : {};
};

/** Removes what a project keeps no longer. */
export async function applyRetention(input: { project: string; pace: EraseCallsInput['pace'] }): Promise<void> {
  const { retainPage } = erasureActivities(input.pace);
  for (let pages = 1; await retainPage({ project: input.project }); pages += 1) {
    if (pages >= PAGES_PER_RUN) await continueAsNew<typeof applyRetention>(input);
  }
}
