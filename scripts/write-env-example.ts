import { readFile, writeFile } from 'node:fs/promises';
import { SETTINGS, type SettingName } from '../src/config.ts';

/** Writes `.env.example` and the README's table of settings from the one list in `src/config.ts`. `--check` only compares. */
const groups = Map.groupBy(Object.entries(SETTINGS) as [SettingName, { group: string; about: string; default?: string; optional?: true; secret?: true }][], ([, setting]) => setting.group);

const example = [
  '# Every setting of Aftercall. Copy to .env and fill in; a line with a value shows the default.',
  ...[...groups].flatMap(([group, settings]) => [
    '',
    `# --- ${group}`,
    ...settings.flatMap(([name, { about, default: standard, optional }]) => [`# ${about}${standard === undefined && !optional ? ' Required.' : ''}`, standard === undefined ? `${optional ? '# ' : ''}${name}=` : `# ${name}=${standard}`]),
  ]),
  '',
  '# --- Docker Compose only',
  '# Password of the PostgreSQL that the compose file starts.',
  'POSTGRES_PASSWORD=',
  '',
].join('\n');

const cell = (text: string): string => text.replaceAll('|', '\\|');
const table = [...groups]
  .map(([group, settings]) =>
    [
      `**${group}**`,
      '',
      '| setting | default | |',
      '|---|---|---|',
      ...settings.map(([name, { about, default: standard, optional, secret }]) => `| \`${name}\` | ${standard === undefined ? (optional ? '' : '*required*') : `\`${cell(standard)}\``} | ${cell(about)}${secret ? ' *Secret.*' : ''} |`),
    ].join('\n'),
  )
  .join('\n\n');

const BEGIN = '<!-- settings: written by scripts/write-env-example.ts -->';
const END = '<!-- /settings -->';
const readmeFile = new URL('../README.md', import.meta.url);
const exampleFile = new URL('../.env.example', import.meta.url);
const readme = await readFile(readmeFile, 'utf8');
const [before, rest = ''] = readme.split(BEGIN);
const after = rest.split(END)[1] ?? '\n';
const written = `${before}${BEGIN}\n${table}\n${END}${after}`;

if (process.argv.includes('--check')) {
  const stale = [written === readme ? [] : ['README.md'], (await readFile(exampleFile, 'utf8').catch(() => '')) === example ? [] : ['.env.example']].flat();
  if (stale.length > 0) process.stderr.write(`Out of date: ${stale.join(', ')}. Run: npm run settings\n`);
  process.exit(stale.length === 0 ? 0 : 1);
}
await writeFile(exampleFile, example);
await writeFile(readmeFile, written);
