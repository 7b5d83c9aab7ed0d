import { createHash } from 'node:crypto';
import { Context } from '@temporalio/activity';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { NoteTarget } from '../adapters/notes/notes.ts';
import type { ErasuresClient } from '../client/erasures.ts';
import type { Calls } from '../db/calls.ts';
import type { Effects } from '../db/effects.ts';
import type { Erasures } from '../db/erasures.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { Messages } from '../db/messages.ts';
import type { Presets } from '../db/presets.ts';
import type { Projects } from '../db/projects.ts';
import type { Runs } from '../db/runs.ts';
import type { WarehouseBooks } from '../db/warehouse.ts';
import type { CallKey } from '../domain/call.ts';
import type { ErasureActivities, LateCall, Places } from '../domain/erasure.ts';
import { isAftercallError } from '../domain/errors.ts';
import type { WarehouseSink } from '../domain/warehouse.ts';
import { draftOf } from '../domain/preset-test.ts';
import { analysisKey, callWorkflowId, crmMarkerKey, erasureKey, lateErasureKey, messageWorkflowId, metadataKey, presetTestWorkflowId, publicationWorkflowId, recordingKey, rescoreWorkflowId, transcriptKey, transcriptVersionKey, voiceCallWorkflowId } from '../domain/ids.ts';
import type { CallNotesFor } from './call-note.ts';
import { signal } from './context.ts';

interface Dependencies {
  calls: Calls;
  runs: Runs;
  effects: Effects;
  messages: Pick<Messages, 'listOf'>;
  given: Pick<GivenCalls, 'find'>;
  erasures: Erasures;
  books: Pick<WarehouseBooks, 'outOfReach'>;
  /** What is loaded to: retention's calls go there with the next load. */
  sinks: readonly WarehouseSink[];
  presets: Pick<Presets, 'dropDraft'>;
  projects: Projects;
  objects: ObjectStore;
  callNotesFor: CallNotesFor;
  client: ErasuresClient;
}

const AT_ONCE = 10;
const RETAINED_AT_ONCE = 100;
const DAY_MS = 86_400_000;

export const createErasureActivities = ({ calls, runs, effects, messages, given, erasures, books, sinks: connected, presets, projects, objects, callNotesFor, client }: Dependencies): ErasureActivities => {
  /** Where anything of a call may lie, whatever its rows say. */
  const keysOf = async (key: CallKey): Promise<string[]> => {
    const call = await calls.find(key);
    if (!call) return erasures.uploadsOf(key);
    const versions = await calls.listVersions(key);
    const audio = (await given.find(key))?.audio?.key;
    return [
      ...new Set([
        recordingKey(key, 'wav'),
        recordingKey(key, 'mp3'),
        transcriptKey(key),
        analysisKey(key),
        crmMarkerKey(key),
        metadataKey(key, call.details.startedAtMs),
        ...versions.map(({ version }) => transcriptVersionKey({ ...key, version })),
        ...versions.flatMap(({ recording, transcript, metadata }) => [recording?.key, transcript?.key, transcript?.versionKey, metadata?.key]).filter((found) => found !== undefined),
        ...(audio ? [audio] : []),
        ...(await erasures.uploadsOf(key)),
      ]),
    ];
  };

  const removeObjects = async (keys: readonly string[]): Promise<number> => {
    let removed = 0;
    for (const key of keys) {
      if (await objects.head(key, { signal: signal() })) removed += 1;
      // A download that was cut off lies there without being seen.
      await (await objects.openUpload(key, { contentType: 'application/octet-stream', signal: signal() })).abort();
      await objects.delete(key, { signal: signal() });
    }
    return removed;
  };

  /** Lines about the call go out of the logs of the runs that it was in. */
  const cleanLogs = async (key: CallKey, runIds: readonly string[]): Promise<number> => {
    let lines = 0;
    for (const runId of runIds) {
      const { logKey } = await runs.get(key.project, runId).catch((error: unknown) => {
        if (isAftercallError(error) && error.code === 'NOT_FOUND') return { logKey: null };
        throw error;
      });
      const text = logKey && (await objects.getText(logKey, { signal: signal() }));
      // As a whole: another call's ID may begin with this one's.
      const named = JSON.stringify(key.callId);
      if (!text?.includes(named)) continue;
      const kept = text.split('\n').filter((line) => !line.includes(named));
      lines += text.split('\n').length - kept.length;
      await objects.put(logKey!, kept.join('\n'), { contentType: 'application/x-ndjson', signal: signal() });
    }
    return lines;
  };

  /** Notes of ours are made empty; what else a CRM was told became its own. */
  const cleanCrm = async (key: CallKey): Promise<{ erased: Places; left: Places }> => {
    const [erased, left]: [Places, Places] = [{}, {}];
    const add = (places: Places, place: string): void => void (places[place] = (places[place] ?? 0) + 1);
    for (const effect of await effects.list(key.project, key.callId)) {
      const isNote = effect.effect === 'note';
      // A note may have been written by an attempt that could not say so any more; looking for it does no harm.
      if (effect.state === 'planned' && !effect.receipt && !isNote) continue;
      if (!isNote) {
        add(left, `record in ${effect.target}`);
        continue;
      }
      try {
        const notes = await callNotesFor(key.project);
        await notes.get(effect.target).remove(effect.key, effect.intent as unknown as NoteTarget, signal());
        add(erased, `note in ${effect.target}`);
      } catch (error) {
        // What may go better is tried again; a card that is gone, or a CRM that was disconnected, will not.
        if (isAftercallError(error) && error.retryable) throw error;
        add(left, `note in ${effect.target}`);
      }
    }
    return { erased, left };
  };

  const readLate = async (project: string, erasureId: string): Promise<LateCall[]> => JSON.parse((await objects.getText(lateErasureKey(project, erasureId), { signal: signal() })) ?? '[]') as LateCall[];

  /** Written before anything is ended: an attempt that dies here leaves it to the next. */
  const noteLate = async (project: string, erasureId: string, late: LateCall): Promise<void> => {
    const others = (await readLate(project, erasureId)).filter(({ callId }) => callId !== late.callId);
    await objects.put(lateErasureKey(project, erasureId), JSON.stringify([...others, late]), { contentType: 'application/json', signal: signal() });
  };

  const eraseCall = async (key: CallKey, erasureId: string, moreKeys?: readonly string[]): Promise<void> => {
    const { project } = key;
    const own = await messages.listOf(project, key.callId);
    const trials = await erasures.trialsOf(key);
    const workflows = [
      callWorkflowId(key),
      publicationWorkflowId(key),
      ...own.flatMap(({ id, round }) => Array.from({ length: round }, (_, index) => messageWorkflowId({ project, messageId: id, round: index + 1 }))),
      ...trials.presetTests.map((id) => presetTestWorkflowId(project, id)),
      ...(await erasures.voiceCallsOf(key)).map((voiceCallId) => voiceCallWorkflowId({ project, voiceCallId })),
    ];
    const keys = [...new Set([...(await keysOf(key)), ...(moreKeys ?? [])])];
    // A shadow run goes on with its other calls; this one's grading may be under way.
    const mayWrite = [...workflows, ...trials.rescoresUnderWay.map((id) => rescoreWorkflowId(project, id))];
    if (!moreKeys && (await client.anyRuns(mayWrite))) await noteLate(project, erasureId, { callId: key.callId, keys });
    await client.terminate(workflows);
    // What a test was to do last.
    for (const id of trials.presetTests) await presets.dropDraft(project, draftOf(id));
    const runIds = [...new Set((await calls.find(key)) ? (await calls.listVersions(key)).flatMap(({ runId }) => runId ?? []) : [])];
    const crm = await cleanCrm(key);
    const erased: Places = { ...crm.erased };
    const note = (place: string, count: number): void => void (count > 0 && (erased[place] = count));
    note('objects', await removeObjects(keys));
    note('lines of run logs', await cleanLogs(key, runIds));
    note('workflow histories', await client.deleteHistories([...workflows, ...trials.rescoresEnded.map((id) => rescoreWorkflowId(project, id))]));
    const sent = own.filter(({ state }) => state === 'delivered' || state === 'unknown').length;
    // Last: it is what tells where everything else is.
    await erasures.eraseRows(key, erasureId, { erased, left: { ...crm.left, ...(sent > 0 ? { 'messages that were sent': sent } : {}) }, removedKeys: keys });
  };

  const eraseLate: ErasureActivities['eraseLate'] = async ({ project, erasureId }) => {
    const late = await readLate(project, erasureId);
    for (const { callId, keys } of late.slice(0, AT_ONCE)) {
      signal().throwIfAborted();
      await eraseCall({ project, callId }, erasureId, keys);
    }
    const left = late.slice(AT_ONCE);
    const key = lateErasureKey(project, erasureId);
    if (left.length > 0) await objects.put(key, JSON.stringify(left), { contentType: 'application/json', signal: signal() });
    else await objects.delete(key, { signal: signal() });
    return { left: left.length };
  };

  /** @returns whether more are left; one may bring another with it, which it was handed over as */
  const erasePending = async (project: string, erasureId: string): Promise<number> => {
    for (const callId of await erasures.pending(project, erasureId, AT_ONCE)) {
      signal().throwIfAborted();
      await eraseCall({ project, callId }, erasureId);
    }
    return (await erasures.pending(project, erasureId, 1)).length;
  };

  const certify = async (project: string, erasureId: string, { erased = {}, sinks }: { erased?: Places | undefined; sinks?: readonly WarehouseSink[] | undefined } = {}): Promise<void> => {
    const { calls: erasedCalls } = await erasures.get(project, erasureId);
    const unreached = sinks ? await books.outOfReach(project, sinks) : [];
    await erasures.end(project, erasureId, { erased, left: Object.fromEntries(unreached.map((sink) => [`calls that rows in ${sink} may tell of`, erasedCalls])) });
    await objects.put(erasureKey(project, erasureId), `${JSON.stringify(await erasures.get(project, erasureId), null, 2)}\n`, { contentType: 'application/json', signal: signal() });
  };

  return {
    async eraseSome({ project, erasureId }) {
      const left = await erasePending(project, erasureId);
      return { left, late: left === 0 ? (await readLate(project, erasureId)).length : 0 };
    },

    eraseLate,

    certifyErasure: ({ project, erasureId, erased, sinks }) => certify(project, erasureId, { erased, sinks }),

    async retainPage({ project }) {
      const { retainAudioDays, retainTranscriptsDays, retainRecordsDays } = await projects.settings(project);
      const before = (days: number): Date => new Date(Date.now() - days * DAY_MS);
      let found = 0;
      if (retainAudioDays > 0) {
        const past = await erasures.versionsBefore(project, 'recording', before(retainAudioDays), RETAINED_AT_ONCE);
        for (const { callId, version } of past) {
          const { recording } = await calls.getVersion({ project, callId, version });
          if (recording) await removeObjects([recording.key]);
          await erasures.forgetRecording({ project, callId }, version);
        }
        found += past.length;
      }
      if (retainTranscriptsDays > 0) {
        const past = await erasures.versionsBefore(project, 'transcript', before(retainTranscriptsDays), RETAINED_AT_ONCE);
        for (const { callId, version } of past) {
          const { transcript, analysis } = await calls.getVersion({ project, callId, version });
          await removeObjects([transcript?.key, transcript?.versionKey, analysisKey({ project, callId })].filter((key) => key !== undefined));
          // Quotes are the transcript's words; verdicts and scores are the record's.
          const bare = analysis && { ...analysis, summary: '', issues_detected: [], recommendations: [], ...(analysis.patterns ? { patterns: [] } : {}), answers: analysis.answers.map((answer) => ({ ...answer, reason: '', evidence: [], rejected: [] })) };
          await erasures.forgetWords({ project, callId }, version, bare ?? undefined);
        }
        found += past.length;
      }
      // Last: a CRM that refuses to empty a note must not keep recordings and words from going.
      if (retainRecordsDays > 0) {
        const callIds = await erasures.callsBefore(project, before(retainRecordsDays), RETAINED_AT_ONCE);
        if (callIds.length > 0) {
          // The same calls are the same erasure, however often it is tried.
          const id = createHash('sha256').update(JSON.stringify([project, 'retention', callIds])).digest('hex').slice(0, 32);
          await erasures.open({ project, id, kind: 'retention', subject: client.subjectOf(project, createHash('sha256').update(callIds.join()).digest('hex')), by: 'retention', callIds });
          // One that is cut off here is taken up by the sweep.
          while ((await erasePending(project, id)) > 0);
          if ((await readLate(project, id)).length > 0) {
            await Context.current().sleep(2 * (Context.current().info.heartbeatTimeoutMs ?? 0));
            while ((await eraseLate({ project, erasureId: id })).left > 0);
          }
          await certify(project, id, { sinks: connected });
        }
        found += callIds.length;
      }
      return found > 0;
    },
  };
};
