import type { Catalog } from '../adapters/catalog/catalog.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { DeskActivities } from '../domain/activities.ts';
import type { CallVersion } from '../domain/call.ts';
import { analysisKey, metadataKey, partitionOf } from '../domain/ids.ts';
import { callRecord, recordLine } from '../domain/metadata.ts';
import { signal } from './context.ts';

interface Dependencies {
  calls: Calls;
  objects: ObjectStore;
  catalog: Catalog;
  projects: Projects;
}

export const createMetadataActivities = ({ calls, objects, catalog, projects }: Dependencies): Pick<DeskActivities, 'writeMetadata'> => ({
  /** Writes the call's line of the call table and makes sure that query engines find its partition. */
  async writeMetadata({ call }) {
    const { details } = await calls.get(call);
    const { registerGlue } = await projects.settings(call.project);
    const key = await writeCallRecord({ calls, objects }, call, signal());
    if (registerGlue) await catalog.ensurePartition(call.project, partitionOf(details.startedAtMs), { signal: signal() });
    await calls.keepResult(call, 'metadata', { key, registered: registerGlue });
    return { state: 'written', registered: registerGlue };
  },
});

/**
 * Writes the call's line as its results stand now. Called again when the analysis is there, which ran
 * beside the metadata step: same key, so the later line replaces the earlier.
 *
 * @returns the object's key
 */
export const writeCallRecord = async ({ calls, objects }: Pick<Dependencies, 'calls' | 'objects'>, call: CallVersion, cancelled: AbortSignal): Promise<string> => {
  const { details } = await calls.get(call);
  const { recording, transcript, analysis } = await calls.getVersion(call);
  const durationMs = transcript?.durationMs ?? recording?.durationMs;
  const record = callRecord(details, {
    ...(durationMs === undefined ? {} : { durationMs }),
    ...(recording ? { recordingUri: objects.uri(recording.key) } : {}),
    ...(transcript ? { transcriptUri: objects.uri(transcript.key) } : {}),
    ...(analysis ? { analysisUri: objects.uri(analysisKey(call)) } : {}),
  });
  const key = metadataKey(call, details.startedAtMs);
  await objects.put(key, recordLine(record), { contentType: 'application/json', signal: cancelled });
  return key;
};
