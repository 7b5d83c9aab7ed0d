/**
 * Salesforce record IDs: 15 case-sensitive characters, or 18 with a suffix that makes them safe where
 * case gets lost. The suffix holds, for each third of the ID, which of its five characters are capitals.
 */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345';
const LEAD_PREFIX = '00Q';
const SHORT = 15;
const LONG = 18;

const suffixOf = (id: string): string =>
  [0, 5, 10]
    .map((start) => {
      const capitals = [...id.slice(start, start + 5)].reduce((bits, character, index) => (/[A-Z]/.test(character) ? bits | (1 << index) : bits), 0);
      return ALPHABET[capitals]!;
    })
    .join('');

/** A Lead ID in its long form, or undefined when it is none: wrong object, length, characters or suffix. */
export const normaliseLeadId = (text: string): string | undefined => {
  const id = text.trim();
  if (!/^[A-Za-z0-9]+$/.test(id) || !id.startsWith(LEAD_PREFIX)) return undefined;
  if (id.length === SHORT) return id + suffixOf(id);
  if (id.length !== LONG) return undefined;
  const long = id.slice(0, SHORT) + suffixOf(id);
  return long === id ? id : undefined;
};
