import type { ObjectStore } from '../adapters/objects/object-store.ts';
import { inProject } from '../db/scope.ts';
import type { UploadKey, Uploads } from '../db/uploads.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

/** An upload takes an hour at most; an answer of the database that was lost has come or not by then. */
const OLD_MS = 86_400_000;
const AT_ONCE = 500;

/** Removes recordings that were uploaded and that no call has: of a process that died, or whose word was lost. */
export const createUploadSweep = ({ uploads, objects, log }: { uploads: Uploads; objects: ObjectStore; log: Pick<Log, 'info' | 'warn'> }) => {
  const settle = async (upload: UploadKey): Promise<boolean> => {
    const named = await uploads.isNamed(upload);
    if (!named) {
      // One that was cut off lies there without being seen.
      await (await objects.openUpload(upload.key, { contentType: 'application/octet-stream' })).abort();
      await objects.delete(upload.key);
    }
    await uploads.end(upload);
    return !named;
  };

  /** @returns how many were removed */
  return async (nowMs = Date.now()): Promise<number> => {
    let removed = 0;
    for (const upload of await uploads.listBegunBefore(new Date(nowMs - OLD_MS), AT_ONCE)) {
      try {
        if (await inProject(upload.project, () => settle(upload))) removed += 1;
      } catch (error) {
        log.warn({ ...upload, error: messageOf(error) }, 'an upload that no call has cannot be removed, will be tried again');
      }
    }
    if (removed > 0) log.info({ removed }, 'uploads that no call has were removed');
    return removed;
  };
};
