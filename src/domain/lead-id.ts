/**
 * Salesforce record IDs: 15 case-sensitive characters, or 18 with a suffix that makes them safe where
 * case gets lost. The suffix holds, for each third of the ID, which of its five characters are capitals.
 */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345';
const LEAD_PREFIX = '00Q';
const SHORT = 15;
const LONG = 18;
const THIRDS = [0, 5, 10];

const suffixOf = (id: string): string =>
  THIRDS.map((start) => {
    const capitals = [...id.slice(start, start + 5)].reduce((bits, character, index) => (/[A-Z]/.test(character) ? bits | (1 << index) : bits), 0);
    return ALPHABET[capitals]!;
  }).join('');

/** An ID whose case got lost, as in an e-mail in capitals or in recognised speech, by its suffix. */
const restoreCase = (id: string): string => {
  const suffix = id.slice(SHORT).toUpperCase();
  const characters = [...id.slice(0, SHORT).toLowerCase()];
  for (const [third, start] of THIRDS.entries()) {
    const capitals = ALPHABET.indexOf(suffix[third]!);
    for (let index = 0; index < 5; index += 1) {
      if (capitals & (1 << index)) characters[start + index] = characters[start + index]!.toUpperCase();
    }
  }
  return characters.join('') + suffix;
};

/**
 * A Lead ID in its long form, or undefined when it is none: wrong object, length, characters or suffix.
 *
 * A long ID in capitals or small letters only gets its case back; one in mixed case has to be right as it
 * stands. A short one has nothing to check its case by.
 */
export const normaliseLeadId = (text: string): string | undefined => {
  const given = text.trim();
  if (!/^[A-Za-z0-9]+$/.test(given)) return undefined;
  const lostCase = given === given.toUpperCase() || given === given.toLowerCase();
  const id = given.length === LONG && lostCase ? restoreCase(given) : given;
  if (!id.startsWith(LEAD_PREFIX)) return undefined;
  if (id.length === SHORT) return id + suffixOf(id);
  if (id.length !== LONG) return undefined;
  return suffixOf(id) === id.slice(SHORT) ? id : undefined;
};
