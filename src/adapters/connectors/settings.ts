import { type Config, readSettings, type SettingName, type SettingProblem, SETTINGS, settingsOf, type System, systemProblems } from '../../config.ts';
import type { Connector } from '../../db/connectors.ts';
import { projectSinkProblems } from '../tracking/registry.ts';
import { POLLED } from './registry.ts';

/** When a source's windows are read, and how far they reach back. */
const TIMETABLE = ['INGEST_EVERY', 'INGEST_CRON', 'INGEST_OVERLAP', 'INGEST_CATCHUP', 'INGEST_SETTLE', 'MINUTES_BACK'] as const satisfies SettingName[];

/** What a project may set of a system: the names that the installation has for it. */
export const namesFor = (system: System): SettingName[] => [...settingsOf(system), ...(POLLED.includes(system) ? TIMETABLE : [])];

export const isSecret = (name: SettingName): boolean => 'secret' in SETTINGS[name];
/** Where something is sent: with another address, nobody but who knows the secrets may have them sent there. */
const isAddress = (name: SettingName): boolean => /_(URL|AUDIENCE)$/.test(name);

/** Shows that there is a secret and which, but not what it is. */
export const masked = (secret: string): string => (secret.length >= 12 ? `****${secret.slice(-4)}` : '****');

export interface AskedSettings {
  settings: Record<string, string>;
  secrets: Record<string, string>;
}

/**
 * What is to be kept of settings as they were sent.
 *
 * A secret that is left out, or sent as it is shown, stays as it is, unless an address changes.
 *
 * @returns all that is wrong, by name; never the value of a secret
 */
export const checkSettings = (system: System, asked: Record<string, string>, current: Pick<Connector, 'settings' | 'secrets'> | undefined): { kept: AskedSettings } | { problems: { name: string; problem: string }[] } => {
  const names = namesFor(system);
  const unknown = Object.keys(asked).filter((name) => !(names as string[]).includes(name));
  if (unknown.length > 0) return { problems: unknown.map((name) => ({ name: name.slice(0, 60), problem: `is no setting of ${system}. There are: ${names.join(', ')}.` })) };

  const given = Object.fromEntries(Object.entries(asked).map(([name, value]) => [name, value.trim()] as const).filter(([, value]) => value !== ''));
  const moved = current && names.find((name) => isAddress(name) && (given[name] ?? '') !== (current.settings[name] ?? ''));
  const all: Record<string, string> = {};
  const problems: { name: string; problem: string }[] = [];
  for (const name of names) {
    const before = isSecret(name) ? current?.secrets[name] : undefined;
    const isRepeated = given[name] === undefined || (before !== undefined && given[name] === masked(before));
    if (before === undefined || !isRepeated) {
      if (given[name] !== undefined) all[name] = given[name];
    } else if (moved) {
      problems.push({ name, problem: `has to be given anew, because ${moved} changes: it would be sent to another address.` });
    } else {
      all[name] = before;
    }
  }
  const { values, problems: wrong } = readSettings(names.filter((name) => all[name] !== undefined), all);
  const lacking = systemProblems(values, system);
  const nothing: SettingProblem[] = lacking.length === 0 && values[settingsOf(system)[0]!] === undefined ? [{ name: settingsOf(system)[0]!, problem: `is not set. ${SETTINGS[settingsOf(system)[0]!].about}` }] : [];
  problems.push(...wrong, ...lacking.filter(({ name }) => !problems.some((problem) => problem.name === name) && !wrong.some((problem) => problem.name === name)), ...nothing);
  if (system === 'tracking') problems.push(...projectSinkProblems(values).filter(({ name }) => !problems.some((problem) => problem.name === name)));
  // A path would be read on this machine, which is not the project's.
  if (values.SFDC_PRIVATE_KEY && !values.SFDC_PRIVATE_KEY.includes('-----BEGIN')) problems.push({ name: 'SFDC_PRIVATE_KEY', problem: 'has to be the key itself, in PEM.' });
  if (values.INGEST_EVERY && !values.INGEST_CRON && values.MINUTES_BACK && values.MINUTES_BACK * 60_000 < values.INGEST_EVERY) {
    problems.push({ name: 'MINUTES_BACK', problem: `is less than INGEST_EVERY: calls in between would be lost.` });
  }
  if (problems.length > 0) return { problems };
  const entries = Object.entries(all) as [SettingName, string][];
  return { kept: { settings: Object.fromEntries(entries.filter(([name]) => !isSecret(name))), secrets: Object.fromEntries(entries.filter(([name]) => isSecret(name))) } };
};

/** The installation's settings with those of a project's connector instead of its own for that system. */
export const configWith = (config: Config, system: System, { settings, secrets }: Pick<Connector, 'settings' | 'secrets'>): Config => {
  const own = settingsOf(system);
  const { values } = readSettings(own, { ...settings, ...secrets });
  const timetable = readSettings(TIMETABLE.filter((name) => settings[name] !== undefined), settings).values;
  return { ...config, ...Object.fromEntries(own.map((name) => [name, undefined])), ...values, ...timetable };
};
