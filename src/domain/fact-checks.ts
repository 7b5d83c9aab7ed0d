import { type CheckedFact, FACT_VALUES, type FactName } from './facts.ts';
import { normaliseLeadId } from './lead-id.ts';
import type { ProjectSettings } from './settings.ts';

/** What is wrong with what was claimed of one fact. */
export interface FactFault {
  name: FactName;
  /** Every value that was claimed for it. */
  claimed: string[];
  /** In words, for people. */
  why: string;
}

/** The facts of a call after every claim was weighed: each name at most once, standing or faulty. */
export interface WeighedFacts {
  /** Quoted, well-formed, not contradicted; values in their normal form. */
  standing: CheckedFact[];
  faults: FactFault[];
}

type FactSettings = Pick<ProjectSettings, 'brnFormats'>;

/**
 * Weighs the claims of a call. Pure and total.
 *
 * A fact stands when its words are in the transcript, its form is right and nothing contradicts it. Two
 * claims of one value are one; free text (services, requirements) adds up instead of contradicting.
 */
export const weighFacts = (claims: readonly CheckedFact[], settings: FactSettings): WeighedFacts => {
  const weighed: WeighedFacts = { standing: [], faults: [] };
  for (const name of new Set(claims.map((claim) => claim.name))) {
    const same = claims.filter((claim) => claim.name === name && !saysNothing(claim)).map((claim) => ({ ...claim, value: normalise(name, claim.value) }));
    if (same.length === 0) continue;
    const verdict = weigh(name, same, settings);
    if ('why' in verdict) weighed.faults.push({ name, claimed: same.map(({ value }) => value), why: verdict.why });
    else if (verdict.fact) weighed.standing.push(verdict.fact);
  }
  return weighed;
};

const weigh = (name: FactName, claims: readonly CheckedFact[], settings: FactSettings): { why: string } | { fact?: CheckedFact } => {
  const quoted = claims.filter((claim) => claim.evidence);
  if (ADDS_UP.has(name)) return quoted[0] ? { fact: { ...quoted[0], value: [...new Set(quoted.map(({ value }) => value))].join('; ') } } : {};

  const values = distinct(name, claims.map(({ value }) => value));
  if (values.length > 1) return { why: `${LABEL[name]} is contradicted: ${values.map((value) => `"${value}"`).join(' and ')}.` };
  const best = quoted.reduce<CheckedFact | undefined>((longest, claim) => (longest && longest.value.length >= claim.value.length ? longest : claim), undefined);
  if (!best) return { why: `${LABEL[name]} "${claims[0]!.value}" rests on words that are not in the transcript.` };
  const why = malformed(name, best.value, settings);
  if (why) return { why };
  // Whoever reads the ID of a record out of a call must not be able to make one up.
  if (NAMES_A_RECORD.has(name) && !quoted.some(({ quote }) => spells(quote, best.value))) return { why: `${LABEL[name]} "${best.value}" is not what its quote says: "${best.quote}".` };
  // Nothing depends on these: left out, they do no harm.
  if (REACHES_A_PERSON.has(name) && !quoted.some(({ quote }) => spells(quote, best.value))) return {};
  return { fact: best };
};

/** Free text of which a call may well have several. */
const ADDS_UP: ReadonlySet<FactName> = new Set<FactName>(['serviceType', 'requirements']);
const NAMES_A_RECORD: ReadonlySet<FactName> = new Set<FactName>(['brn', 'leadId']);
const REACHES_A_PERSON: ReadonlySet<FactName> = new Set<FactName>(['email', 'phone']);

/** Names of which a caller may give a part: "Harbour Lights" and "Harbour Lights Logistics" are one. */
const MAY_BE_PARTIAL: ReadonlySet<FactName> = new Set<FactName>(['company', 'callerName', 'customerName']);

const LABEL: Record<FactName, string> = {
  callerName: "The caller's name",
  customerName: "The customer's name",
  company: 'The company',
  email: 'The e-mail address',
  phone: 'The phone number',
  callType: 'The kind of call',
  segment: 'The segment',
  serviceType: 'The service',
  brn: 'The registration number',
  leadId: 'The Lead ID',
  revenueFlagged: 'The revenue flag',
  qualification: 'The qualification',
  requirements: 'The requirement',
};

/** Ways in which forms say "none". As the name of a company, some of them are placeholders that somebody gave. */
const saysNothing = ({ name, value, evidence }: CheckedFact): boolean => {
  const text = value.trim();
  if (text === '' || /^(null|undefined|not (given|provided|mentioned|stated|available))$/i.test(text)) return true;
  return /^(-+|none|unknown|n\/?a)$/i.test(text) && (name !== 'company' || !evidence) && !(name in FACT_VALUES);
};

const normalise = (name: FactName, value: string): string => {
  const text = value.trim();
  switch (name) {
    case 'brn':
      return text.replaceAll(/[\s./-]+/g, '').toUpperCase();
    case 'email':
      return text.replaceAll(/\s+/g, '').toLowerCase();
    case 'leadId':
      return normaliseLeadId(text.replaceAll(/[\s-]+/g, '')) ?? text;
    case 'phone':
      return plausiblePhone(text) ?? text;
    case 'callType':
    case 'segment':
    case 'revenueFlagged':
    case 'qualification':
      return text.toLowerCase();
    case 'callerName':
    case 'customerName':
    case 'company':
    case 'serviceType':
    case 'requirements':
      return text.replaceAll(/\s+/g, ' ');
  }
};

/** The values that really differ. */
const distinct = (name: FactName, values: readonly string[]): string[] => {
  const wordsOf = (value: string): string => ` ${value.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, ' ').trim()} `;
  const kept: string[] = [];
  for (const value of [...values].sort((a, b) => b.length - a.length)) {
    const words = wordsOf(value);
    const isCovered = kept.some((other) => (MAY_BE_PARTIAL.has(name) ? wordsOf(other).includes(words) : other.toLowerCase() === value.toLowerCase()));
    if (!isCovered) kept.push(value);
  }
  return kept;
};

const PLACEHOLDER =
  /^(-+|n\/?a|none|unknown|undefined|anonymous|private|test(ing)?|sample|dummy|example|placeholder|company|(my|your|our|some|the|a|any) company|company name|asdf\w*|qwer\w*|x{2,}|abc|foo|bar|blah?( blah?)*)( (company|inc|ltd|pte ltd|limited|corp|llc|gmbh))?\.?$/i;
const EMAIL = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,63}$/;
/** RFC 5321. */
const LONGEST_EMAIL = 254;

const malformed = (name: FactName, value: string, { brnFormats }: FactSettings): string | undefined => {
  switch (name) {
    case 'company':
      return PLACEHOLDER.test(value) || !/\p{L}{2}/u.test(value) ? `"${value}" is a placeholder, no company.` : undefined;
    case 'brn':
      return brnFormats.some((format) => matches(format, value)) ? undefined : `"${value}" is no valid business registration number.`;
    case 'email':
      return value.length <= LONGEST_EMAIL && EMAIL.test(value) ? undefined : `"${value}" is no e-mail address.`;
    case 'leadId':
      return normaliseLeadId(value) ? undefined : `"${value}" is no valid Lead ID.`;
    case 'phone':
      return plausiblePhone(value) ? undefined : `"${value}" is no phone number.`;
    case 'callType':
    case 'segment':
    case 'revenueFlagged':
    case 'qualification':
      return (FACT_VALUES[name] as readonly string[]).includes(value) ? undefined : `${LABEL[name]} "${value}" is not one of ${FACT_VALUES[name].join(', ')}.`;
    case 'callerName':
    case 'customerName':
    case 'serviceType':
    case 'requirements':
      return undefined;
  }
};

/** A setting that is no regular expression lets nothing through. */
const matches = (format: string, value: string): boolean => {
  try {
    return new RegExp(format).test(value);
  } catch {
    return false;
  }
};

/** A phone number as digits with a leading `+` if it had one, or undefined when nobody could dial it. */
export const plausiblePhone = (text: string): string | undefined => {
  const number = text.trim().replace(/^tel:/i, '');
  if (!/^\+?[\d\s().-]+$/.test(number)) return undefined;
  const digits = number.replaceAll(/\D/g, '');
  // E.164 allows 15; below 6 it is an extension or a short code. One digit all over is a placeholder.
  if (digits.length < 6 || digits.length > 15 || /^(\d)\1*$/.test(digits)) return undefined;
  return number.startsWith('+') ? `+${digits}` : digits;
};

const DIGITS: Record<string, string> = { zero: '0', oh: '0', nought: '0', one: '1', two: '2', three: '3', four: '4', five: '5', six: '6', seven: '7', eight: '8', nine: '9' };
const REPEATS: Record<string, number> = { double: 2, triple: 3 };
/** Signs as they are said; signs that are written vanish anyway. */
const SIGNS: ReadonlySet<string> = new Set(['at', 'dot', 'point', 'dash', 'hyphen', 'minus', 'underscore', 'slash', 'plus']);

/** Letters and digits of a text, with spoken digits and signs as if they were written; O and 0 sound the same. */
const spelling = (text: string): string => {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  let spelled = '';
  for (let index = 0; index < words.length; index += 1) {
    const times = REPEATS[words[index]!];
    const next = words[index + 1];
    if (times && next) {
      spelled += (DIGITS[next] ?? next).repeat(times);
      index += 1;
    } else if (!SIGNS.has(words[index]!)) spelled += DIGITS[words[index]!] ?? words[index]!;
  }
  return spelled.replaceAll('o', '0');
};

/**
 * Whether a quote says a value, character by character, be it written or spelled out in English.
 *
 * A long Lead ID counts as said when its first 15 characters are.
 */
const spells = (quote: string, value: string): boolean => {
  const said = spelling(quote);
  const wanted = spelling(value);
  if (wanted === '') return false;
  return said.includes(wanted) || (normaliseLeadId(value) === value && said.includes(spelling(value.slice(0, 15))));
};
