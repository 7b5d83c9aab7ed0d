/**
 * The bytes that a `Range` header asks for (RFC 9110, 14.2). Several ranges, other units and malformed
 * headers are ignored, as the RFC allows: the whole file is the answer then.
 */
export const parseRange = (header: string | undefined, totalBytes: number): { start: number; end: number } | 'unsatisfiable' | undefined => {
  const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '') ?? [];
  if (from === undefined || to === undefined || (from === '' && to === '')) return undefined;
  if (from === '') {
    const length = Math.min(Number(to), totalBytes);
    return length === 0 ? 'unsatisfiable' : { start: totalBytes - length, end: totalBytes - 1 };
  }
  const start = Number(from);
  const end = to === '' ? totalBytes - 1 : Math.min(Number(to), totalBytes - 1);
  if (start >= totalBytes) return 'unsatisfiable';
  return start > end ? undefined : { start, end };
};
