import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { SampleCall, ScriptLine } from './script.ts';

/** The folder with the sample calls' audio. */
export const AUDIO_FOLDER = fileURLToPath(new URL('./audio/', import.meta.url));

const scriptOf = (name: string): ScriptLine[] => JSON.parse(readFileSync(new URL(`./audio/${name}.json`, import.meta.url), 'utf8')) as ScriptLine[];

const HOUR = 60;
const DAY = 24 * HOUR;

type Task = Partial<SampleCall['task']>;

let made = 0;
/** A finished inbound call to the sales queue, unless said otherwise. Task IDs are stable: they are what is processed once. */
const call = (title: string, minutesAgo: number, task: Task, rest: Partial<SampleCall> = {}): SampleCall => {
  made += 1;
  const number = String(made).padStart(2, '0');
  return {
    taskId: `5a3d1c00-0000-4000-8000-0000000000${number}`,
    title,
    task: {
      status: 'completed',
      direction: 'inbound',
      origin: `+155501${number}0`,
      destination: '+6560000100',
      queue: 'Business Sales',
      agent: made % 2 ? 'Priya' : 'Marcus',
      captureRequested: true,
      minutesAgo,
      ...task,
    },
    ...rest,
  };
};

const scripted = (name: string, scenario?: string, recording: Partial<NonNullable<SampleCall['recording']>> = {}): Partial<SampleCall> => ({
  recording: { file: `${name}.ogg`, servedAs: 'wav', ...recording },
  script: scriptOf(name),
  ...(scenario ? { scenario } : {}),
});

const CARE: Task = { queue: 'Business Care' };

/** Together these show each CRM scenario, each way a call can end early, and each kind of recording. */
export const SAMPLE_CALLS: readonly SampleCall[] = [
  call('a qualified new enquiry', 6 * HOUR, {}, scripted('good-lead', 'good_lead')),
  call('names a Lead ID', 7 * HOUR, {}, scripted('lead-conversion', 'lead_to_opportunity')),
  call('renews and names a Lead ID; served as MP3', 8 * HOUR, CARE, scripted('renewal-with-lead', 'lead_to_opportunity', { servedAs: 'mp3' })),
  call('renews without a Lead ID', 9 * HOUR, CARE, scripted('renewal', 'existing_customer_renewal')),
  call('a revenue-flagged customer', 10 * HOUR, {}, scripted('revenue-flagged', 'requires_transfer')),
  call('a placeholder company and half a registration number', 11 * HOUR, {}, scripted('poor-data', 'poor_data_practices')),
  call('vague needs; served as 8 kHz mu-law WAV', 12 * HOUR, {}, scripted('weak-enquiry', 'insufficient_qualification', { servedAs: 'mulaw-wav' })),
  call('a private customer', 13 * HOUR, {}, scripted('consumer', 'consumer_redirect')),
  call('hung up in the queue', 14 * HOUR, { status: 'abandoned', captureRequested: false }),
  call('a wrong number: too short to grade', 15 * HOUR, {}, scripted('too-short')),
  call('its recording comes late', 4, CARE, scripted('late-recording', 'insufficient_qualification', { emptyLooks: 2 })),
  call('its recording never comes', 3 * DAY, {}),
  call('both channels carry the same sound', 16 * HOUR, CARE, scripted('duplicated-mono', 'insufficient_qualification', { duplicatedMono: true })),
  call('tells the model what to do', 17 * HOUR, {}, scripted('injection', 'insufficient_qualification')),
  call('an outbound call', 18 * HOUR, { direction: 'outbound', origin: '+6560000100', destination: '+15550199' }, scripted('outbound', 'insufficient_qualification')),
  call('a real call to a garage, two channels', 2 * DAY, CARE, { recording: { file: 'auto-repairs-stereo.wav', servedAs: 'wav', agentFirst: true } }),
  call('a real call to a garage, one channel', 2 * DAY + 1, CARE, { recording: { file: 'auto-repairs-mono.wav', servedAs: 'wav' } }),
  call('still going on', 1, { status: 'assigned', captureRequested: null }),
];
