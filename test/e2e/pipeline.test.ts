import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { Analysis } from '../../src/domain/analysis.ts';
import type { CrmMarker } from '../../src/domain/crm-marker.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let system: TestSystem;
let report: ExecutionReport;

const titled = (title: string) => SAMPLE_CALLS.find((call) => call.title.includes(title))!;
const objects = (): string => fileURLToPath(new URL(`file://${join(system.folder, 'objects')}/`));
const object = (key: string): Promise<string> => readFile(join(objects(), key), 'utf8');
const versionOf = async (title: string) => system.wiring.calls.getVersion({ ...system.key(titled(title).taskId), version: 1 });

beforeAll(async () => {
  server = await startTemporalProcess();
  // As a newcomer has it: the database embedded.
  system = await startSystem({ server, env: { DATABASE_URL: 'pglite:' } });
  report = await system.runWindow();
});
afterAll(async () => {
  await system?.stop();
  await server?.stop();
});

describe('a window of calls, from Webex to Salesforce', () => {
  it('reports every call once, and the sums add up', () => {
    expect(report).toMatchObject({ tasksFound: 18, newTasks: 17, stillOpen: 1, skippedAlreadyProcessed: 0, processedSuccessfully: 17, failed: 0, needsAttention: 0, inProgress: 0 });
    expect(report.endedEarly).toMatchObject({ abandoned: 1, noRecording: 1 });
    expect(report.crm).toMatchObject({ leadsCreated: 1, leadsConverted: 2, accountsUpdated: 1, transferred: 1 });
    expect(report.catalogue).toEqual({ totalRecords: 17, withRecording: 15, withTranscript: 15, withAnalysis: report.analyzed });
  });

  it.each(SAMPLE_CALLS.filter((call) => call.scenario).map((call) => [call.title, call.taskId, call.scenario] as const))('decides on "%s" as a person would', async (_title, taskId, scenario) => {
    const { crm } = await system.wiring.calls.getVersion({ ...system.key(taskId), version: 1 });
    expect(crm?.scenario).toBe(scenario);
  });

  it('ends early, with the reason, what cannot go down the whole path', async () => {
    expect((await versionOf('hung up')).result).toBe('abandoned');
    expect((await versionOf('never comes')).result).toBe('no_recording');
    expect((await versionOf('wrong number')).result).toBe('too_short');
    expect((await system.wiring.calls.get(system.key(titled('still going on').taskId)).catch(() => undefined))?.version ?? 0).toBe(0);
  });

  it('tells speakers by channel, and hears what was said', async () => {
    const { taskId, script } = titled('qualified');
    const transcript = JSON.parse(await object(`call-detail/${taskId}/transcript.json`)) as Transcript;
    expect(transcript).toMatchObject({ speakersBy: 'channel', provider: 'sandbox: scripted' });
    expect(transcript.turns.map(({ speaker, text }) => [speaker, text])).toEqual(script!.map(({ speaker, text }) => [speaker, text]));
    for (const [index, turn] of transcript.turns.entries()) expect(Math.abs(turn.startMs - script![index]!.startMs)).toBeLessThan(200);
  });

  it.each(['MP3', 'mu-law', 'same sound'])('transcribes a recording that is %s', async (kind) => {
    const { taskId, script } = titled(kind);
    const transcript = JSON.parse(await object(`call-detail/${taskId}/transcript.json`)) as Transcript;
    expect(transcript.turns.map(({ text }) => text)).toEqual(script!.map(({ text }) => text));
    // Duplicated mono has no channel to tell by: the provider's labels are kept, and it is paid for once.
    expect(transcript.speakersBy).toBe(kind === 'same sound' ? 'provider' : 'channel');
    expect(transcript.usage.requests).toBe(kind === 'same sound' ? 1 : 2);
  });

  it('says plainly that nobody wrote down what is said on a real recording', async () => {
    const transcript = JSON.parse(await object(`call-detail/${titled('two channels').taskId}/transcript.json`)) as Transcript;
    expect(transcript.provider).toBe('sandbox: no script for this recording');
    expect(transcript.turns).toEqual([]);
  });

  it('grades with quotes that stand in the transcript', async () => {
    const { taskId } = titled('qualified');
    const analysis = JSON.parse(await object(`call-detail/${taskId}/analysis.json`)) as Analysis;
    expect(analysis).toMatchObject({ call_id: taskId, sentiment: 'positive', grading: { pass: true } });
    const transcript = JSON.parse(await object(`call-detail/${taskId}/transcript.json`)) as Transcript;
    for (const { evidence } of analysis.answers) for (const { quote, turn } of evidence) expect(transcript.turns[turn]!.text).toContain(quote);
  });

  it('writes the marker with the decision and the records, and one lead in Salesforce', async () => {
    const { taskId } = titled('qualified');
    const marker = JSON.parse(await object(`SFDC/${taskId}.txt`)) as CrmMarker;
    expect(marker).toMatchObject({ state: 'done', owner: `default/${taskId}`, decision: { scenario: 'good_lead', action: 'create_lead' } });
    const leads = (await (await fetch(`${system.sandbox.salesforce.url}/_sandbox-records/Lead`)).json()) as Record<string, unknown>[];
    const created = leads.filter((lead) => lead['Company'] === 'Harbour Lights Logistics Pte Ltd');
    expect(created).toEqual([expect.objectContaining({ Id: marker.records?.leadId, BRN__c: '53912345K', Email: 'daniel@harbourlights.example', LastName: 'Daniel' })]);
  });

  it('keeps the brief’s record on one line, under its month, and nothing else beside it', async () => {
    const files = (await readdir(join(objects(), 'call-data'), { recursive: true })).filter((name) => !/^(year=\d{4})(\/month=\d\d)?$/.test(name));
    expect(files).toHaveLength(17);
    for (const name of files) {
      expect(name).toMatch(/^year=\d{4}\/month=\d\d\/[0-9a-f-]{36}\.json$/);
      expect(await object(`call-data/${name}`)).toMatch(/^\{[^\n]*\}\n$/);
    }
    const record = JSON.parse(await object(`call-data/${files.find((name) => name.includes(titled('qualified').taskId))!}`)) as Record<string, unknown>;
    expect(record).toMatchObject({ status: 'completed', direction: 'inbound', queue_name: 'Business Sales', duration_seconds: 74 });
    expect(String(record['analysis_file'])).toMatch(/^file:.*analysis\.json$/);
  });

  it('owes what the provider billed, to the micro-dollar', async () => {
    const billed = await ledgerOf(system.sandbox.openai);
    const sumOf = (kind: string): number => billed.filter((entry) => entry.kind === kind).reduce((sum, entry) => sum + Number(entry['microUsd']), 0);
    expect(report.cost).toEqual({ sttMicroUsd: sumOf('transcription'), diarizationMicroUsd: 0, llmMicroUsd: sumOf('completion'), voiceMicroUsd: 0, totalMicroUsd: sumOf('transcription') + sumOf('completion'), unsettledRequests: 0 });
  });

  it('can be searched in Temporal by project, source and state', async () => {
    const found: string[] = [];
    for await (const { workflowId } of system.wiring.temporal.workflow.list({ query: `AftercallProject = 'default' and AftercallSource = 'webex' and WorkflowType = 'processCall'` })) found.push(workflowId);
    expect(found).toHaveLength(17);
  });

  it('writes the report and the log of the run beside the records', async () => {
    expect(JSON.parse(await object(`reports/${report.runId}.json`))).toEqual(report);
    const log = (await object(`logs/${report.runId}.ndjson`)).trim().split('\n').map((line) => JSON.parse(line) as { message: string });
    expect(log.filter(({ message }) => message === 'call completed')).toHaveLength(17);
  });

  it('processes nothing twice: the next window skips, pays nothing and writes no lead', async () => {
    const before = [await ledgerOf(system.sandbox.openai), await ledgerOf(system.sandbox.salesforce)];
    const again = await system.runWindow();
    expect(again).toMatchObject({ tasksFound: 18, newTasks: 0, skippedAlreadyProcessed: 17, stillOpen: 1 });
    expect([await ledgerOf(system.sandbox.openai), await ledgerOf(system.sandbox.salesforce)]).toEqual(before);
  });

  it('knows a call past Temporal’s memory of it', async () => {
    const { taskId } = titled('qualified');
    await system.wiring.temporal.workflowService.deleteWorkflowExecution({ namespace: 'default', workflowExecution: { workflowId: `call/default/${taskId}` } });
    expect(await system.runWindow()).toMatchObject({ newTasks: 0, skippedAlreadyProcessed: 17 });
  });

  it('runs a call again as a new version from a step, and changes nothing in Salesforce but the note', async () => {
    const { taskId } = titled('qualified');
    const before = await ledgerOf(system.sandbox.salesforce);
    expect(await system.wiring.callsClient.reprocess(system.key(taskId), { by: 'test', from: 'analysis' })).toEqual({ started: true, version: 2 });
    await system.until(taskId, 'completed');
    const versions = await system.wiring.calls.listVersions(system.key(taskId));
    expect(versions.map(({ version, startedFrom, crm }) => [version, startedFrom, crm?.action])).toEqual([[2, 'analysis', 'create_lead'], [1, 'recording', 'create_lead']]);
    expect(versions[0]?.recording).toEqual(versions[1]?.recording);
    // The link to the report is good for longer now.
    const note = (await system.wiring.effects.list('default', taskId)).find(({ effect }) => effect === 'note')!;
    expect((await ledgerOf(system.sandbox.salesforce)).slice(before.length)).toMatchObject([{ kind: 'task_updated', externalId: note.key }]);
  });
});
