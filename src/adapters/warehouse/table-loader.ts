import type { UnitRows } from '../../domain/warehouse-rows.ts';

/** Loads rows into a warehouse that keeps tables of its own. */
export interface TableLoader {
  /** Brings units to the state that is given: their rows are written, and what they had besides is removed. @returns rows written */
  load(project: string, batch: { loadId: number; readAt: Date; units: readonly UnitRows[] }, signal: AbortSignal): Promise<number>;
  /** Removes what earlier loads have written. */
  dropBefore(project: string, loadId: number, signal: AbortSignal): Promise<void>;
}
