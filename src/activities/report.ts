import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Warehouse } from '../adapters/warehouse/warehouse.ts';
import type { Runs } from '../db/runs.ts';
import type { IngestActivities } from '../domain/activities.ts';
import { messageOf } from '../domain/errors.ts';
import { logKey, reportKey } from '../domain/ids.ts';
import { buildReport, type ExecutionReport } from '../domain/report.ts';
import { signal } from './context.ts';
import type { Publishing } from './publish.ts';

interface Dependencies {
  runs: Runs;
  objects: ObjectStore;
  warehouse: Warehouse;
  publishing: Pick<Publishing, 'announceRun'>;
  log: { info(fields: object, message: string): void };
}

const LOG_LINES_PER_READ = 1_000;

export const createReportActivities = ({ runs, objects, warehouse, publishing, log }: Dependencies): Pick<IngestActivities, 'writeReport'> => ({
  /** Counts the run from the records and writes its report to the database, the object store and the log. */
  async writeReport({ runId, project }) {
    const run = await runs.get(project, runId);
    // A retry after the last write: the report stands.
    if (run.state === 'completed' && run.report) {
      await publishing.announceRun(run.report);
      return run.report;
    }
    await runs.setState(runId, { state: 'settling' });

    const report = buildReport(
      {
        runId,
        project,
        source: run.source,
        windowFrom: run.windowFrom.toISOString(),
        windowTo: run.windowTo.toISOString(),
        startedAt: run.startedAt.toISOString(),
        finishedAt: new Date().toISOString(),
      },
      await runs.count(runId),
      await catalogueCounts(warehouse, project),
    );
    await runs.log(runId, 'info', 'report written', { tasksFound: report.tasksFound, newTasks: report.newTasks, processedSuccessfully: report.processedSuccessfully });
    await objects.put(reportKey(project, runId), `${JSON.stringify(report, null, 2)}\n`, { contentType: 'application/json', signal: signal() });
    await uploadLog(runs, objects, { project, runId });
    await runs.complete(runId, { report, reportKey: reportKey(project, runId), logKey: logKey(project, runId) });
    log.info({ report }, 'execution report');
    await publishing.announceRun(report);
    return report;
  },
});

/** The query engine is a witness, not a part of the pipeline: when it cannot be asked, the report says so. */
const catalogueCounts = async (warehouse: Warehouse, project: string): Promise<ExecutionReport['catalogue']> => {
  try {
    return await warehouse.countCalls(project, { signal: signal() });
  } catch (error) {
    signal().throwIfAborted();
    return { unavailable: messageOf(error) };
  }
};

/** Streams the run's log lines to the object store: a run of 100,000 calls has as many. */
const uploadLog = async (runs: Runs, objects: ObjectStore, { project, runId }: { project: string; runId: string }): Promise<void> => {
  const upload = await objects.openUpload(logKey(project, runId), { contentType: 'application/x-ndjson', signal: signal() });
  // A half-written log of an earlier attempt may miss lines that came since.
  let skip = upload.offset;
  for (let after = 0; ; ) {
    const lines = await runs.readLog(runId, { limit: LOG_LINES_PER_READ, after });
    if (lines.length === 0) break;
    after = lines.at(-1)!.id;
    const chunk = Buffer.from(lines.map(({ at, level, message, fields }) => `${JSON.stringify({ at: at.toISOString(), level, message, ...fields })}\n`).join(''));
    if (skip >= chunk.length) skip -= chunk.length;
    else {
      await upload.write(chunk.subarray(skip));
      skip = 0;
    }
  }
  await upload.complete();
};
