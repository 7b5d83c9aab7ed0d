/** Words that many companies have in their names, and that tell none of them from another. */
const COMMON = new Set('the and of a company co corp corporation group holding holdings inc incorporated limited ltd llc llp plc pte private pty gmbh ag kg sa sas sarl srl spa bv nv oy ab as oü ooo ооо ао зао ип sdn bhd international services service solutions systems trading enterprise enterprises industries'.split(' '));

const wordsOf = (name: string): string[] => name.normalize('NFKD').replaceAll(/\p{M}/gu, '').toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

/**
 * Whether two names may be one company's: as they are said on phones and written in records, in part, in other
 * spacing or with another legal form.
 */
export const mayBeOneCompany = (a: string, b: string): boolean => {
  const [one, other] = [wordsOf(a), wordsOf(b)].map((words) => ({ telling: words.filter((word) => !COMMON.has(word)), bare: words.filter((word) => !COMMON.has(word)).join('') })) as [{ telling: string[]; bare: string }, { telling: string[]; bare: string }];
  // Nothing in a name that could tell it from another speaks against none.
  if (one.bare === '' || other.bare === '') return true;
  return one.telling.some((word) => other.telling.includes(word)) || one.bare.includes(other.bare) || other.bare.includes(one.bare);
};
