import type { Verdict } from '../../domain/analysis.ts';
import { placeOf } from '../../domain/announcements.ts';
import type { CallDetails } from '../../domain/call.ts';
import type { CrmResult } from '../../domain/crm-rules.ts';
import { type EffectiveAnalysis, type EffectiveAnswer, rubricOf } from '../../domain/review.ts';
import type { VoiceOutcome } from '../../domain/voice.ts';
import type { Transcript, Turn } from '../../domain/transcript.ts';
import type { Html} from './html.ts';
import { html } from './html.ts';

/** What a call's report shows. Everything in it that was said, or comes from outside, is hostile. */
export interface ReportView {
  project: string;
  callId: string;
  version: number;
  details: CallDetails;
  /** Why there is less to show than usual; absent for a call that went its whole way. */
  remark?: string | undefined;
  /** As people's reviews leave it. */
  analysis: EffectiveAnalysis | null;
  crm: CrmResult | null;
  transcript?: Transcript | undefined;
  /** How it went, if it is an outbound call that we placed. */
  placed?: { outcome: VoiceOutcome | null } | undefined;
  /** Absent without a recording. */
  recordingUrl?: string | undefined;
  costMicroUsd: number;
  /** Who reads it after signing in; absent for whoever holds a link. */
  reader?: string | undefined;
}

/** The frame of every page here: no inline script or style, and nothing from elsewhere. */
export const page = (title: string, body: Html, { script = false }: { script?: boolean } = {}): string =>
  html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="robots" content="noindex" />
    <title>${title}</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="/calls/report.css" />
    ${script && html`<script src="/calls/player.js" type="module"></script>`}
  </head>
  <body>
    <main>${body}</main>
  </body>
</html>
`.text;

const clock = (ms: number): string => {
  const seconds = Math.floor(ms / 1_000);
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${h > 0 ? `${h}:${String(m).padStart(2, '0')}` : m}:${String(s).padStart(2, '0')}`;
};
const words = (name: string): string => name.replaceAll('_', ' ').replace(/^./, (first) => first.toUpperCase());

const VERDICTS: Record<Verdict, string> = { yes: 'Yes', no: 'No', not_evidenced: 'Not evidenced', not_applicable: 'Not applicable' };

const at = (ms: number, turn: number): Html => html`<a class="at" href="#turn-${turn}" data-at="${ms}">${clock(ms)}</a>`;

const scoreBox = ({ grading }: EffectiveAnalysis): Html =>
  html`<div class="score ${grading.pass === null ? '' : grading.pass ? 'good' : 'bad'}">
    <strong>${grading.total_score_percent ?? '–'}</strong>
    <span>${grading.total_score_percent === null ? 'not scored' : grading.pass ? 'of 100, passed' : 'of 100, not passed'}</span>
  </div>`;

/** Colleagues see who reviewed a call; whoever was sent a link does not. */
const reviewer = (by: string, named: boolean): string => (named ? by : 'a reviewer');

/** What people made of an answer, and whether it counts. */
const remarksOn = ({ review, ai, advisory }: EffectiveAnswer, named: boolean): Html[] => [
  ...(review ? [html`<p>${review.outcome === 'corrected' ? `Corrected by ${reviewer(review.by, named)}${ai ? `; the model said: ${VERDICTS[ai.verdict]}` : ''}.` : `Confirmed by ${reviewer(review.by, named)}.`}${review.comment ? ` ${review.comment}` : ''}</p>`] : []),
  ...(advisory ? [html`<p>Advisory: people and the model agree on this question too little for it to count.</p>`] : []),
];

const criterion = (answer: EffectiveAnswer, question: string | undefined, named: boolean): Html => {
  const { criterion: id, verdict, reason, evidence } = answer;
  return html`<div class="criterion">
    <h3><span>${words(id)}</span><span class="verdict ${verdict}">${VERDICTS[verdict]}</span></h3>
    ${question && html`<p class="question">${question}</p>`}
    <p>${reason}</p>
    ${remarksOn(answer, named)}
    ${evidence.map(({ quote, speaker, startMs, turn }) => html`<blockquote>${quote} <span class="speaker">${words(speaker)}</span> ${at(startMs, turn)}</blockquote>`)}
  </div>`;
};

const scorecard = (analysis: EffectiveAnalysis, named: boolean): Html => {
  const questions = new Map(rubricOf(analysis).criteria.map(({ id, question }) => [id, question]));
  const override = analysis.review?.override;
  return html`<section>
    <h2>Scorecard</h2>
    ${override && html`<p>Set by ${reviewer(override.by, named)}: the score is ${override.score_percent}; the answers add up to ${override.computed_score_percent ?? 'none'}. ${override.comment}</p>`}
    ${analysis.answers.map((answer) => criterion(answer, questions.get(answer.criterion), named))}
  </section>`;
};

const list = (heading: string, items: readonly string[]): Html | false => items.length > 0 && html`<h2>${heading}</h2><ul class="plain">${items.map((item) => html`<li>${item}</li>`)}</ul>`;

/** What calls are counted by, in the customer's own words. */
const patterns = ({ patterns: found = [] }: EffectiveAnalysis): Html | false =>
  found.length > 0 && html`<h2>What came up</h2>${found.map(({ kind, evidence: { quote, startMs, turn } }) => html`<blockquote>${quote} <span class="speaker">${words(kind)}</span> ${at(startMs, turn)}</blockquote>`)}`;

const summary = (analysis: EffectiveAnalysis): Html =>
  html`<section>
    <h2>Summary</h2>
    <p>${analysis.summary}</p>
    ${patterns(analysis)} ${list('Issues', analysis.issues_detected)} ${list('Recommendations', analysis.recommendations)}
    <ul class="tags">
      <li>Sentiment: ${analysis.sentiment}</li>
      ${Object.entries(analysis.grading.categories).toSorted(([a], [b]) => a.localeCompare(b)).map(([category, { score_percent, points, out_of }]) => html`<li>${words(category)}: ${score_percent === null ? 'not applicable' : `${score_percent} (${points} of ${out_of})`}</li>`)}
    </ul>
  </section>`;

const turn = ({ speaker, startMs, text }: Turn, index: number): Html =>
  html`<li id="turn-${index}" class="${speaker === 'agent' ? 'agent' : ''}" data-start="${startMs}">${at(startMs, index)}<span class="speaker">${words(speaker)}</span><p>${text}</p></li>`;

const footnotes = ({ version, analysis, transcript, costMicroUsd, project, callId }: ReportView): string =>
  [
    `Call ${callId} of ${project}, version ${version}`,
    ...(transcript ? [`heard by ${transcript.provider} ${transcript.model}, speakers by ${transcript.speakersBy}`] : []),
    ...(analysis ? [`graded by ${analysis.versions.provider} ${analysis.versions.model}, rubric ${analysis.versions.rubric}, prompt ${analysis.versions.prompt}`] : []),
    `cost $${(costMicroUsd / 1e6).toFixed(4)}`,
  ].join(' · ');

/** A call's report as people read it. */
export const reportPage = (view: ReportView): string => {
  const { details, analysis, crm, transcript, recordingUrl, remark, reader, placed } = view;
  const title = `Call of ${new Date(details.startedAtMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  const parties = [details.originPhone && `from ${details.originPhone}`, details.destinationPhone && `to ${details.destinationPhone}`, transcript && clock(transcript.durationMs), placed && `placed by us${placed.outcome ? `, ${words(placed.outcome).toLowerCase()}` : ''}`].filter(Boolean).join(' · ');
  return page(
    title,
    html`<header>
        ${analysis && scoreBox(analysis)}
        <div>
          <h1>${title}</h1>
          <p class="facts">${placeOf(details)}<br />${parties}</p>
        </div>
      </header>
      ${remark && html`<section><p>${remark}</p></section>`}
      ${recordingUrl && html`<section class="player"><audio controls preload="metadata" src="${recordingUrl}"></audio></section>`}
      ${analysis && summary(analysis)}
      ${analysis && scorecard(analysis, reader !== undefined)}
      ${crm && html`<section><h2>CRM</h2><p>${words(crm.scenario)}: ${words(crm.action)}</p>${list('Why', crm.reasons)}</section>`}
      ${transcript && html`<section><h2>Transcript</h2><ol class="turns">${transcript.turns.map(turn)}</ol></section>`}
      <footer>
        <p>${footnotes(view)}</p>
        ${reader && html`<form method="post" action="/calls/sign-out"><p>Signed in as ${reader}. <button class="out">Sign out</button></p></form>`}
      </footer>`,
    { script: true },
  );
};

/** A page that says something, and lets people sign in where that helps. */
export const noticePage = ({ title, text, signIn }: { title: string; text: string; signIn?: { next: string; wrong?: string | undefined } | undefined }): string =>
  page(
    title,
    html`<section>
      <h1>${title}</h1>
      <p>${text}</p>
      ${signIn &&
      html`<form method="post" action="/calls/sign-in">
        ${signIn.wrong && html`<p class="wrong" role="alert">${signIn.wrong}</p>`}
        <input type="hidden" name="next" value="${signIn.next}" />
        <label>E-mail<input name="email" type="email" autocomplete="username" required maxlength="200" /></label>
        <label>Password<input name="password" type="password" autocomplete="current-password" required /></label>
        <button>Sign in</button>
      </form>`}
    </section>`,
  );
