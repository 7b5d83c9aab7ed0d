import type { Analysis, Evidence } from '../domain/analysis.ts';
import { findQuote } from '../domain/evidence.ts';
import { checkAgain } from '../domain/grading.ts';
import { asPersonWould, canUndo, type PersonVerdict, type ReviewAct, type ReviewEntry, rubricOf, standingOf, withSpeakers } from '../domain/review.ts';
import type { Transcript } from '../domain/transcript.ts';
import { HttpProblem } from './problems.ts';

/** What a person asks for becomes an entry here, held against the analysis, its transcript and what stands. */

type Decide = (analysis: Analysis, entries: ReviewEntry[]) => ReviewAct;

export interface Correction {
  criterion: string;
  verdict: PersonVerdict;
  comment: string;
  /** Words of the transcript, or a turn of it by its number: what shows it. */
  quote?: string | undefined;
  turn?: number | undefined;
}

export const correct = ({ criterion, verdict, comment, quote, turn }: Correction, transcript: Transcript | undefined): Decide => (analysis) => {
  needCriterion(analysis, criterion);
  const evidence = evidenceOf(transcript, quote, turn);
  return { kind: 'correct', criterion, verdict, comment, ...(evidence ? { evidence } : {}) };
};

/** Kept with the speaker's label in the transcript as made: names may still change. */
const evidenceOf = (transcript: Transcript | undefined, quote: string | undefined, turn: number | undefined): Evidence | undefined => {
  if (quote === undefined && turn === undefined) return undefined;
  if (!transcript) throw refused('The transcript of this call is not stored any more, so nothing can be quoted from it.', 'Leave the quote out.');
  if (turn !== undefined) {
    const said = transcript.turns[turn];
    if (!said) throw refused(`The transcript has ${transcript.turns.length} turns; there is no turn ${turn}.`, 'Count turns from 0.');
    if (quote === undefined) return { quote: said.text, speaker: said.speaker, turn, startMs: said.startMs, endMs: said.endMs };
    const there = findQuote({ turns: [said] }, quote, 'either');
    if (!('evidence' in there)) throw refused(`Turn ${turn} does not say that.`, 'Quote its words as they stand, or leave the turn out.');
    return { ...there.evidence, turn };
  }
  const found = findQuote(transcript, quote!, 'either');
  if (!('evidence' in found)) throw refused('These words are not in the transcript.', 'Quote them as they stand there, from one speaker.');
  return found.evidence;
};

/** @param criterion one answer; without it, all that nobody has corrected */
export const confirm = (criterion: string | undefined): Decide => (analysis, entries) => {
  if (criterion !== undefined) needCriterion(analysis, criterion);
  const { answers, swap } = standingOf(entries);
  const wanted = analysis.answers.filter((answer) => (criterion === undefined ? answers.get(answer.criterion)?.kind !== 'correct' : answer.criterion === criterion));
  if (wanted.length === 0) throw refused('Every answer of this call has been corrected; there is none left to confirm.', 'Undo a correction first.');
  // As it is shown: under the speakers that stand.
  const shown = (id: string): PersonVerdict => asPersonWould((swap?.answers ?? analysis.answers).find((answer) => answer.criterion === id)!.verdict);
  return { kind: 'confirm', verdicts: Object.fromEntries(wanted.map(({ criterion: id }) => [id, shown(id)])) };
};

export const override = ({ scorePercent, comment }: { scorePercent: number; comment: string }): Decide => () => ({ kind: 'override', scorePercent, comment });

/** @param speakers by the transcript's own labels; those left out keep theirs */
export const swapSpeakers = (speakers: Record<string, string>, transcript: Transcript | undefined): Decide => (analysis) => {
  if (!transcript) throw refused('The transcript of this call is not stored any more.', 'Correct the answers one by one.');
  const unknown = Object.keys(speakers).filter((label) => !transcript.speakers.includes(label));
  if (unknown.length > 0) throw refused(`The transcript knows no speaker ${unknown.join(', ')}; it has ${transcript.speakers.join(', ')}.`, 'Name speakers as the transcript had them before anybody renamed them.');
  const strange = Object.values(speakers).filter((name) => !['agent', 'customer', ...transcript.speakers].includes(name));
  if (strange.length > 0) throw refused(`A speaker is the agent, the customer or one of the transcript's own, not ${strange.join(', ')}.`, 'Use "agent" or "customer".');
  if (Object.entries(speakers).every(([label, name]) => label === name)) throw refused('This changes no speaker.', 'Undo the swap that stands, if that is what is meant.');
  return { kind: 'swap_speakers', speakers, answers: checkAgain(rubricOf(analysis), withSpeakers(transcript, speakers), analysis.answers) };
};

export const undo = (revision: number): Decide => (_analysis, entries) => {
  if (!canUndo(entries, revision)) throw refused(`Revision ${revision} cannot be undone: there is none, it is an undo, or it has been undone.`, 'Read the review again.');
  return { kind: 'undo', undoes: revision };
};

const needCriterion = (analysis: Analysis, criterion: string): void => {
  if (!analysis.answers.some((answer) => answer.criterion === criterion)) throw refused(`The analysis has no question ${criterion}.`, `It has ${analysis.answers.map((answer) => answer.criterion).join(', ')}.`);
};

const refused = (what: string, advice: string): HttpProblem => new HttpProblem(422, `${what} ${advice}`);
