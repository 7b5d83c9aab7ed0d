import type { SampleCall } from '../calls/script.ts';

/** A task as the sandbox keeps it. */
export interface StoredTask {
  id: string;
  createdTime: number;
  call: SampleCall['task'];
  sample?: SampleCall;
  /** Instead of a sample's file: that many bytes of WAV, made as they are served. */
  generateBytes?: number;
  /** How often the captures query still answers with nothing. */
  emptyLooks: number;
}

export type Tasks = ReturnType<typeof createTasks>;

/** Tasks in the order of their creation; pages cost the same however many there are. */
export const createTasks = () => {
  const sorted: StoredTask[] = [];
  const byId = new Map<string, StoredTask>();
  let isSorted = true;

  const sort = (): StoredTask[] => {
    if (!isSorted) {
      sorted.sort((a, b) => a.createdTime - b.createdTime || a.id.localeCompare(b.id));
      isSorted = true;
    }
    return sorted;
  };
  /** Index of the first task created after `time`. */
  const firstAfter = (tasks: StoredTask[], time: number): number => {
    let low = 0;
    let high = tasks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (tasks[middle]!.createdTime > time) high = middle;
      else low = middle + 1;
    }
    return low;
  };

  return {
    add(task: StoredTask): void {
      if (byId.has(task.id)) return;
      byId.set(task.id, task);
      sorted.push(task);
      isSorted = false;
    },
    remove(id: string): void {
      const at = sorted.findIndex((task) => task.id === id);
      if (at >= 0) sorted.splice(at, 1);
      byId.delete(id);
    },
    get: (id: string): StoredTask | undefined => byId.get(id),
    page({ from, to, pageSize }: { from: number; to: number; pageSize: number }): StoredTask[] {
      const tasks = sort();
      const page: StoredTask[] = [];
      for (let at = firstAfter(tasks, from); at < tasks.length && page.length < pageSize && tasks[at]!.createdTime < to; at += 1) page.push(tasks[at]!);
      return page;
    },
  };
};
