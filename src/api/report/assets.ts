/** The pages' own style: light and dark by the reader's wish, one column on a phone, and ink on paper. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --page: #f6f7f9; --card: #fff; --line: #dfe3e8; --accent: #0b62c4; --good: #12703f; --bad: #b3261e; --amber: #8a5a00; --mark: #e8f1fd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #9aa4b0; --page: #14171a; --card: #1c2024; --line: #333a42; --accent: #7db5ff; --good: #62cf95; --bad: #ff8f86; --amber: #f0bd5e; --mark: #22324a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.05rem; margin: 0 0 .75rem; }
p { margin: 0 0 .75rem; }
a { color: var(--accent); }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
header { display: flex; gap: 1.25rem; align-items: center; margin-bottom: 1.25rem; }
header .facts { color: var(--soft); font-size: .92rem; margin: .25rem 0 0; }
.score { flex: none; min-width: 5.5rem; padding: .6rem .75rem; border-radius: .6rem; background: var(--card); border: 1px solid var(--line); text-align: center; }
.score strong { display: block; font-size: 1.9rem; line-height: 1.1; }
.score span { font-size: .8rem; color: var(--soft); }
.score.good strong { color: var(--good); }
.score.bad strong { color: var(--bad); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.15rem; margin-bottom: 1rem; }
.player { position: sticky; top: 0; z-index: 1; padding: .6rem .75rem; box-shadow: 0 4px 12px rgb(0 0 0 / 8%); }
.player audio { display: block; width: 100%; }
.tags { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; padding: 0; list-style: none; }
.tags li { border: 1px solid var(--line); border-radius: 1rem; padding: .1rem .65rem; font-size: .85rem; color: var(--soft); }
ul.plain { margin: 0 0 .75rem; padding-left: 1.2rem; }
.criterion { border-top: 1px solid var(--line); padding: .75rem 0 .5rem; }
.criterion:first-of-type { border-top: 0; padding-top: 0; }
.criterion h3 { display: flex; gap: .6rem; justify-content: space-between; font-size: .98rem; margin: 0 0 .25rem; }
.criterion p { margin: 0 0 .4rem; color: var(--soft); font-size: .93rem; }
.criterion .question { color: var(--ink); }
.verdict { flex: none; font-size: .82rem; font-weight: 600; }
.verdict.yes { color: var(--good); }
.verdict.no { color: var(--bad); }
.verdict.not_evidenced { color: var(--amber); }
.verdict.not_applicable { color: var(--soft); font-weight: 400; }
blockquote { margin: 0 0 .4rem; padding: .1rem 0 .1rem .75rem; border-left: 3px solid var(--accent); font-size: .95rem; }
.at { font-variant-numeric: tabular-nums; white-space: nowrap; font-size: .85rem; }
.turns { margin: 0; padding: 0; list-style: none; }
.turns li { display: grid; grid-template-columns: 3.6rem 6.5rem 1fr; gap: .6rem; padding: .35rem .4rem; border-radius: .35rem; scroll-margin-top: 5.5rem; }
.turns li:target, .turns li.playing { background: var(--mark); }
.speaker { color: var(--soft); font-size: .9rem; }
.turns .agent .speaker { color: var(--accent); }
footer { color: var(--soft); font-size: .84rem; }
form { display: grid; gap: .85rem; max-width: 22rem; }
label { display: grid; gap: .25rem; font-size: .9rem; }
input { font: inherit; padding: .5rem .6rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--page); color: inherit; width: 100%; }
button { font: inherit; padding: .5rem .9rem; border: 0; border-radius: .4rem; background: var(--accent); color: var(--card); font-weight: 600; cursor: pointer; justify-self: start; }
.wrong { color: var(--bad); }
.out { background: none; color: var(--accent); padding: 0; font-weight: 400; text-decoration: underline; }
@media (max-width: 36rem) {
  main { padding: 1rem .75rem 3rem; }
  header { align-items: flex-start; gap: .9rem; }
  h1 { font-size: 1.2rem; }
  .turns li { grid-template-columns: 3.2rem 1fr; gap: .1rem .5rem; }
  .turns p { grid-column: 2; }
}
.turns p { margin: 0; }
@media print {
  :root { --ink: #000; --soft: #444; --page: #fff; --card: #fff; --line: #bbb; --accent: #000; }
  body { font-size: 11pt; }
  .player, form { display: none; }
  section { border: 0; padding: 0; break-inside: auto; }
  .criterion, .turns li { break-inside: avoid; }
}
`;

/** Times are links: they go to their place in the transcript, and with this the player goes there too. */
export const PLAYER = `
const audio = document.querySelector('audio');
const turns = [...document.querySelectorAll('.turns li')];
const startOf = (turn) => Number(turn.dataset.start) / 1000;
if (audio) {
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a[data-at]') : null;
    if (!link) return;
    audio.currentTime = Number(link.dataset.at) / 1000;
    audio.play().catch(() => {});
    if (link.closest('.turns')) event.preventDefault();
  });
  audio.addEventListener('timeupdate', () => {
    const now = audio.currentTime;
    let current;
    for (const turn of turns) if (startOf(turn) <= now) current = turn;
    for (const turn of turns) turn.classList.toggle('playing', turn === current && !audio.ended);
  });
}
`;
