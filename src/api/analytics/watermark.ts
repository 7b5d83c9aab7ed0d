import type { WarehouseBooks } from '../../db/warehouse.ts';
import type { WarehouseSink } from '../../domain/warehouse.ts';
import type { Watermark } from './answers.ts';

/** How far the loads have come that the engine reads. */
export const watermarkOf =
  (books: Pick<WarehouseBooks, 'status'>, sink: WarehouseSink) =>
  async (project: string): Promise<Watermark> => {
    const status = (await books.status(project)).find((each) => each.sink === sink);
    return { asOf: status?.loadedAt ?? null, loads: status?.loads ?? 0 };
  };
