/** Seconds as providers give them, in whole milliseconds and never before the start. */
export const toMs = (seconds: number): number => Math.max(0, Math.round(seconds * 1_000));
