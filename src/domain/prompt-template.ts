import type { Criterion, Rubric } from './rubric.ts';

/**
 * What a project tells the model about grading: plain text with named placeholders.
 *
 * It is the last part of the request. The rules that make the transcript data come before it, and are not
 * part of it; it cannot move them, repeat them under another name, or show a transcript of its own.
 */

/** Each with what it stands for. */
export const PLACEHOLDERS = {
  rubric: 'the questions of the rubric, one a line; required',
  language: 'the language to write in',
  company: "the project's name",
  category: 'the category of the call',
} as const;

export type Placeholder = keyof typeof PLACEHOLDERS;
const NAMES = Object.keys(PLACEHOLDERS) as Placeholder[];

export const LONGEST_TEMPLATE = 8_000;

export const DEFAULT_TEMPLATE = [
  'summary: two or three sentences. sentiment: the customer\'s, over the whole call. issues_detected: what went wrong for the customer. recommendations: what the agent could do better.',
  'answers: one for each of these questions. "yes" needs one to three quotes that show it.',
  '{{rubric}}',
].join('\n');

const PLACEHOLDER = /\{\{([^{}]*)\}\}/g;
/** Line breaks and tabs are text, and joiners are spelling in some scripts; every other control, format or private character hides something. */
const HIDDEN = /[^\P{C}\n\t\u200c\u200d]/u;
/** A text as it reads, without what only looks different. */
const asRead = (text: string): string => text.normalize('NFKC').replaceAll(/[\u200c\u200d]/g, '');

interface Ban {
  what: string;
  pattern: RegExp;
}

/** What is the product's to say: whoever writes it pretends to be the frame around the transcript, or a transcript. */
const FRAME: readonly Ban[] = [
  { what: 'begins a task of its own ("TASK:")', pattern: /^\s*TASK\s*:/im },
  { what: 'imitates the words that fence the transcript', pattern: /transcript\s+stands\s+between|between\s+two\s+lines\s+that\s+read/i },
  { what: 'has a line that looks like the transcript\'s fence', pattern: /^\s*[0-9a-f]{16,}\s*$/im },
  { what: 'has a line that looks like one of the transcript ("[3] agent 00:10: …")', pattern: /^\s*\[\d+\]\s*\S+\s+\d+:\d\d\s*:/m },
  { what: 'has a marker of a chat format', pattern: /<\|[^|\n]{0,40}\|>|\[\/?INST\]|<<\/?SYS>>|<\/?(system|assistant|user|transcript|think)>|^\s*(#+\s*)?(system|assistant|user|human)\s*:/im },
];

/** What is wrong with a text that goes into a prompt, or undefined. */
const faultOfText = (text: string): string | undefined => {
  if (!text.isWellFormed()) return 'has half of a surrogate pair in it';
  const hidden = HIDDEN.exec(text);
  if (hidden) return `has a hidden character in it (U+${hidden[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}, at character ${hidden.index + 1})`;
  return FRAME.find(({ pattern }) => pattern.test(asRead(text)))?.what;
};

/** Everything that is wrong with a template, in words that name the place. Empty: it may be saved. */
export const faultsOfTemplate = (template: string): string[] => {
  if (template.length > LONGEST_TEMPLATE) return [`The template has ${template.length} characters; at most ${LONGEST_TEMPLATE} are allowed.`];
  const faults: string[] = [];
  const text = faultOfText(template);
  if (text) faults.push(`The template ${text}.`);
  let rubrics = 0;
  for (const [whole, name] of template.matchAll(PLACEHOLDER)) {
    if (name === 'rubric') rubrics += 1;
    if (!(NAMES as string[]).includes(name!)) faults.push(`The template has the placeholder ${whole.slice(0, 60)}, which is unknown. There are ${NAMES.map((known) => `{{${known}}}`).join(', ')}.`);
  }
  const rest = template.replaceAll(PLACEHOLDER, '');
  if (rest.includes('{{') || rest.includes('}}')) faults.push('The template has {{ or }} that belong to no placeholder.');
  if (rubrics === 0) faults.push('The template lacks {{rubric}}: without it the model is asked no questions.');
  if (rubrics > 1) faults.push('The template has {{rubric}} more than once.');
  if (rubrics === 1 && !/^[ \t]*\{\{rubric\}\}[ \t]*$/m.test(template)) faults.push('{{rubric}} has to stand on a line of its own.');
  // A question is a line of the form "- id: …"; those come from the rubric only.
  if (/^\s*- [a-z][a-z0-9_]*:/im.test(asRead(template))) faults.push('The template has a line of the form "- name: …", which is how the rubric\'s questions look. Put questions into the rubric.');
  return faults;
};

export const MOST_CRITERIA = 60;
export const HEAVIEST = 1_000;
const CRITERION_ID = /^[a-z][a-z0-9_]{0,39}$/;
const LONGEST = { question: 500, notApplicableWhen: 300 };

/** Everything that is wrong with a rubric's criteria. Empty: it may be saved. */
export const faultsOfCriteria = (criteria: readonly Criterion[]): string[] => {
  if (criteria.length === 0) return ['The rubric has no criteria; at least one is needed.'];
  if (criteria.length > MOST_CRITERIA) return [`The rubric has ${criteria.length} criteria; at most ${MOST_CRITERIA} are allowed.`];
  const seen = new Set<string>();
  return criteria.flatMap((criterion, index) => {
    const at = `Criterion ${index + 1} (${JSON.stringify(criterion.id.slice(0, 40))})`;
    const faults: string[] = [];
    if (!CRITERION_ID.test(criterion.id)) faults.push(`${at}: its id has to be a lower-case letter and then letters, digits and "_", at most 40 in all.`);
    if (seen.has(criterion.id)) faults.push(`${at}: its id is taken by another criterion.`);
    seen.add(criterion.id);
    if (!CRITERION_ID.test(criterion.category)) faults.push(`${at}: its category has to be a lower-case letter and then letters, digits and "_", at most 40 in all.`);
    if (!(criterion.weight > 0 && criterion.weight <= HEAVIEST)) faults.push(`${at}: its weight has to be more than 0 and at most ${HEAVIEST}.`);
    for (const field of ['question', 'notApplicableWhen'] as const) {
      const text = criterion[field];
      if (text === undefined) continue;
      if (text.trim() === '') faults.push(`${at}: its ${field} is empty.`);
      if (text.length > LONGEST[field]) faults.push(`${at}: its ${field} has ${text.length} characters; at most ${LONGEST[field]} are allowed.`);
      if (/[\n\t]/.test(text)) faults.push(`${at}: its ${field} has to be one line.`);
      if (text.includes('{{') || text.includes('}}')) faults.push(`${at}: its ${field} has {{ or }} in it; placeholders belong into the template.`);
      const fault = faultOfText(text);
      if (fault) faults.push(`${at}: its ${field} ${fault}.`);
    }
    return faults;
  });
};

/** The questions as the model reads them. */
export const questionsOf = (rubric: Rubric): string =>
  rubric.criteria
    .map(({ id, question, notApplicableWhen, evidenceFrom }) =>
      [`- ${id}: ${question}`, evidenceFrom === 'either' ? '' : ` Quote the ${evidenceFrom}.`, notApplicableWhen ? ` Answer not_applicable when ${notApplicableWhen}.` : ''].join(''),
    )
    .join('\n');

/** What the placeholders stand for in one call. */
export interface TemplateValues {
  language?: string | undefined;
  company?: string | undefined;
  category?: string | undefined;
}

const LONGEST_VALUE = 100;
/** Names come from people and from providers: one line, no braces, nothing hidden. */
const plain = (value: string | undefined, otherwise: string): string => {
  const text = (value ?? '').replaceAll(/[\p{C}{}<>|[\]]+/gu, ' ').replaceAll(/\s+/g, ' ').trim().slice(0, LONGEST_VALUE);
  return text === '' ? otherwise : text;
};

/** Fills in a template. What is filled in is not looked through for placeholders again. */
export const renderTemplate = (template: string, rubric: Rubric, { language, company, category }: TemplateValues): string => {
  const values: Record<Placeholder, string> = {
    rubric: questionsOf(rubric),
    language: plain(language, 'the language of the call'),
    company: plain(company, 'the company'),
    category: plain(category, 'general'),
  };
  return template.replaceAll(PLACEHOLDER, (whole, name: string) => (NAMES as string[]).includes(name) ? values[name as Placeholder] : whole);
};
