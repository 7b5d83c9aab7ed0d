/**
 * Whether a name fits a pattern in which `*` stands for any text, also for none. Case does not matter.
 *
 * Greedy with one point of return, so a hostile pattern costs no more than pattern × name.
 */
export const matchesPattern = (pattern: string, name: string): boolean => {
  const wanted = pattern.toLowerCase();
  const given = name.toLowerCase();
  let at = 0;
  let next = 0;
  let star = -1;
  let resume = 0;
  while (at < given.length) {
    if (wanted[next] === '*') {
      star = next;
      resume = at;
      next += 1;
    } else if (next < wanted.length && wanted[next] === given[at]) {
      next += 1;
      at += 1;
    } else if (star >= 0) {
      // The last star takes one character more.
      next = star + 1;
      resume += 1;
      at = resume;
    } else return false;
  }
  return [...wanted.slice(next)].every((rest) => rest === '*');
};
