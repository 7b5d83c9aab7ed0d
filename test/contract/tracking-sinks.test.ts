import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { CreateQueueCommand, DeleteMessageBatchCommand, type Message, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { ABT_SECRETS, startAbt } from '../../sandbox/abt/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { checkSettings } from '../../src/adapters/connectors/settings.ts';
import { createGuard, guardOf } from '../../src/adapters/http/guard.ts';
import { createHttpSink } from '../../src/adapters/tracking/http.ts';
import { createLogSink } from '../../src/adapters/tracking/log.ts';
import { createTrackingSink } from '../../src/adapters/tracking/registry.ts';
import { AWS_QUEUE, createSqsSink } from '../../src/adapters/tracking/sqs.ts';
import { type ConfigError, loadConfig, withSystem } from '../../src/config.ts';
import { trackingKey } from '../../src/db/tracking.ts';
import { sequenceOf, TRACKING_EVENTS, type TrackingEnvelope, trackingEvent, type TrackingEventName } from '../../src/domain/tracking.ts';
import { complete } from '../support/config.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';
import { addFaults, ledgerOf } from '../support/sandbox.ts';
import { failureOf, requestsOf } from '../support/salesforce.ts';
import { aTrackedCall } from '../support/tracking.ts';

const config = loadConfig(complete);
const never = new AbortController().signal;
const [OLD, NEW] = ABT_SECRETS;

const envelope = (subject: string, name: TrackingEventName = 'Voice call initiated'): TrackingEnvelope => {
  const { properties, occurredAtMs, project } = trackingEvent(name, aTrackedCall(subject), 1_800_000_000_000);
  return { schemaVersion: 1, id: trackingKey({ project, subject, name }), event: name, sequence: sequenceOf(name), project, subject, occurredAt: new Date(occurredAtMs).toISOString(), properties };
};

describe('an event over HTTP', () => {
  let abt: SandboxServer;
  beforeEach(async () => {
    abt = await startAbt();
  });
  afterEach(() => abt.close());
  const sinkTo = (url = `${abt.url}/events`, secrets: readonly string[] = [OLD], limitMs?: number) => createHttpSink({ url, secrets, guard: guardOf(config), ...(limitMs === undefined ? {} : { limitMs }) });
  const fault = (effect: Fault['effect']): Promise<void> => addFaults(abt, { route: 'POST /events', effect });

  it('is taken by a receiver that checks signature, key and form', async () => {
    expect(await sinkTo().send(envelope('vc_1'), never)).toEqual({ outcome: 'delivered', receipt: { status: 204 } });
    expect(await ledgerOf(abt)).toMatchObject([{ kind: 'event_received', id: envelope('vc_1').id, event: envelope('vc_1') }]);
  });

  it('is counted once when the first answer was lost', async () => {
    await fault({ kind: 'drop_after' });
    expect(await failureOf(sinkTo().send(envelope('vc_1'), never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'unknown' });
    await sinkTo().send(envelope('vc_1'), never);
    expect((await ledgerOf(abt)).map(({ kind }) => kind)).toEqual(['event_received', 'event_repeated']);
    expect(await (await fetch(`${abt.url}/events`)).json()).toEqual([envelope('vc_1')]);
  });

  it('is signed with both secrets while one replaces the other, and refused with a wrong one', async () => {
    await abt.close();
    abt = await startAbt({ secrets: [NEW] });
    const failure = await failureOf(sinkTo().send(envelope('vc_1'), never));
    expect(failure).toMatchObject({ code: 'AUTH_FAILED', outcome: 'refused' });
    expect(`${failure.stack} ${failure.advice}`).not.toMatch(/whsec|c2FuZGJveC/);
    expect(await sinkTo(undefined, [OLD, NEW]).send(envelope('vc_1'), never)).toMatchObject({ outcome: 'delivered' });
  });

  it.each([[200, 'delivered'], [202, 'delivered'], [410, 'unwanted']])('answered with %d is %s', async (status, outcome) => {
    await fault({ kind: 'respond', status });
    expect(await sinkTo().send(envelope('vc_1'), never)).toMatchObject({ outcome });
  });

  it.each([[301, 'UPSTREAM_REJECTED'], [400, 'UPSTREAM_REJECTED'], [403, 'AUTH_FAILED'], [408, 'UPSTREAM_UNAVAILABLE'], [422, 'UPSTREAM_REJECTED'], [429, 'RATE_LIMITED'], [503, 'UPSTREAM_UNAVAILABLE']])('answered with %d is %s, with what was said and when to come again', async (status, code) => {
    await fault({ kind: 'respond', status, headers: { 'retry-after': '30', location: `${abt.url}/elsewhere` }, body: { error: 'not today' } });
    const failure = await failureOf(sinkTo().send(envelope('vc_1'), never));
    expect(failure).toMatchObject({ code, outcome: 'refused', retryAfterMs: 30_000 });
    expect(failure.message).toContain('not today');
    expect(await requestsOf(abt)).toHaveLength(1);
  });

  it('is not waited for longer than a try may take', async () => {
    await fault({ kind: 'hang' });
    expect(await failureOf(sinkTo(undefined, [OLD], 300).send(envelope('vc_1'), never))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', outcome: 'unknown' });
  });

  it.each(['http://169.254.169.254/latest/', 'https://10.0.0.8/events', 'http://[::1]/events', 'https://127.0.0.2/events'])('never goes to %s', async (url) => {
    expect(await failureOf(sinkTo(url).send(envelope('vc_1'), never))).toMatchObject({ code: 'URL_REFUSED' });
    expect(await failureOf(sinkTo(url).check(never))).toMatchObject({ code: 'URL_REFUSED' });
  });
});

describe('an event to the log', () => {
  it('is one line without numbers and metadata', async () => {
    const lines: object[] = [];
    expect(await createLogSink((event) => void lines.push(event)).send(envelope('vc_1'), never)).toEqual({ outcome: 'delivered', receipt: {} });
    expect(lines).toEqual([expect.objectContaining({ id: envelope('vc_1').id, event: 'Voice call initiated', properties: { voiceCallId: 'vc_1', providerCallId: 'call_vc_1', direction: 'outbound', agentId: 'agent_1', batchId: null } })]);
    expect(JSON.stringify(lines)).not.toMatch(/\+1555|\+65|c-17/);
  });
});

describe('an event to SQS', () => {
  let aws: TestAws;
  let sqs: SQSClient;
  let made = 0;
  beforeAll(async () => {
    aws = await startAws();
    sqs = new SQSClient({ region: REGION, endpoint: aws.url });
  });
  afterAll(async () => {
    sqs?.destroy();
    await aws?.stop();
  });

  const aQueue = async (fifo: boolean): Promise<string> => {
    made += 1;
    const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: `abt-${made}${fifo ? '.fifo' : ''}`, ...(fifo ? { Attributes: { FifoQueue: 'true' } } : {}) }));
    return QueueUrl!;
  };
  const sinkTo = (queueUrl: string) => createSqsSink({ queueUrl, region: REGION });
  /** All that lies in a queue, in the order in which a consumer gets it. */
  const read = async (QueueUrl: string): Promise<Message[]> => {
    const all: Message[] = [];
    for (;;) {
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, MessageSystemAttributeNames: ['All'], MessageAttributeNames: ['All'] }));
      if (Messages.length === 0) return all;
      all.push(...Messages);
      await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries: Messages.map(({ MessageId, ReceiptHandle }) => ({ Id: MessageId!, ReceiptHandle: ReceiptHandle! })) }));
    }
  };

  it('that is FIFO comes once, however often it is sent, and in the order of its call', async () => {
    const queue = await aQueue(true);
    const sink = sinkTo(queue);
    expect(sink.class).toBe('upsert_by_key');
    for (const name of TRACKING_EVENTS) {
      for (const call of ['vc_a', 'vc_b']) {
        await sink.send(envelope(call, name), never);
        // The first answer was lost.
        expect(await sink.send(envelope(call, name), never)).toMatchObject({ outcome: 'delivered', receipt: { messageId: expect.any(String) } });
      }
    }
    const messages = await read(queue);
    for (const call of ['vc_a', 'vc_b']) {
      const own = messages.filter(({ Attributes }) => Attributes!.MessageGroupId === call);
      expect(own.map(({ Body }) => JSON.parse(Body!) as object)).toEqual(TRACKING_EVENTS.map((name) => envelope(call, name)));
      expect(own.map(({ Attributes }) => Attributes!.MessageDeduplicationId)).toEqual(TRACKING_EVENTS.map((name) => envelope(call, name).id));
    }
    expect(messages).toHaveLength(6);
    expect(messages[0]!.MessageAttributes).toMatchObject({ event: { StringValue: 'Voice call initiated' }, project: { StringValue: 'default' }, schemaVersion: { StringValue: '1', DataType: 'Number' } });
  });

  it('that is no FIFO comes as often as it is sent, with what tells a repeat and the order', async () => {
    const queue = await aQueue(false);
    const sink = sinkTo(queue);
    expect(sink.class).toBe('no_key');
    await sink.send(envelope('vc_a', 'Call completed'), never);
    await sink.send(envelope('vc_a', 'Call completed'), never);
    const bodies = (await read(queue)).map(({ Body }) => JSON.parse(Body!) as TrackingEnvelope);
    expect(bodies.map(({ id, sequence }) => [id, sequence])).toEqual([[envelope('vc_a', 'Call completed').id, 3], [envelope('vc_a', 'Call completed').id, 3]]);
  });

  it('says what is wrong with the queue when it is looked at, and sends nothing', async () => {
    const queue = await aQueue(true);
    expect(await sinkTo(queue).check(never)).toBe('The FIFO queue was found.');
    expect(await read(queue)).toEqual([]);
    const missing = queue.replace('abt-', 'no-');
    expect(await failureOf(sinkTo(missing).check(never))).toMatchObject({ code: 'NOT_FOUND', outcome: 'refused' });
    expect(await failureOf(sinkTo(missing).send(envelope('vc_a'), never))).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is not sent twice by the SDK itself, and its errors are told apart', async () => {
    const { startSandboxServer } = await import('../../sandbox/server.ts');
    const stand = await startSandboxServer('sqs', () => {});
    const queue = `${stand.url}/123456789012/abt.fifo`;
    const answer = (status: number, type: string): Promise<void> =>
      addFaults(stand, { route: 'POST *', effect: { kind: 'respond', status, headers: { 'content-type': 'application/x-amz-json-1.0' }, body: { __type: `com.amazonaws.sqs#${type}`, message: 'no' } } });
    const cases: [number, string, string, string][] = [
      [403, 'AccessDeniedException', 'AUTH_FAILED', 'refused'],
      [400, 'RequestThrottled', 'RATE_LIMITED', 'refused'],
      [429, 'ThrottlingException', 'RATE_LIMITED', 'refused'],
      [400, 'QueueDoesNotExist', 'NOT_FOUND', 'refused'],
      [400, 'InvalidMessageContents', 'UPSTREAM_REJECTED', 'refused'],
      [500, 'InternalFailure', 'UPSTREAM_UNAVAILABLE', 'unknown'],
    ];
    for (const [status, type, code, outcome] of cases) {
      await answer(status, type);
      expect([type, await failureOf(sinkTo(queue).send(envelope('vc_a'), never))]).toEqual([type, expect.objectContaining({ code, outcome })]);
    }
    await addFaults(stand, { route: 'POST *', effect: { kind: 'drop_after' } });
    expect(await failureOf(sinkTo(queue).send(envelope('vc_a'), never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' });
    expect(await requestsOf(stand)).toHaveLength(cases.length + 1);
    await stand.close();
    expect(await failureOf(sinkTo(queue).send(envelope('vc_a'), never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' });
  });

  it('of a project goes nowhere but where its guard lets it', async () => {
    const queue = await aQueue(true);
    const sink = createSqsSink({ queueUrl: queue, region: REGION, guard: createGuard() });
    expect(await failureOf(sink.send(envelope('vc_a'), never))).toMatchObject({ code: 'URL_REFUSED' });
    expect(await read(queue)).toEqual([]);
  });
});

describe('the settings of tracking', () => {
  const http = { TRACKING_SINK: 'http', TRACKING_URL: 'https://abt.example.com/events', TRACKING_SECRETS: OLD };
  const sqs = { TRACKING_SINK: 'sqs', TRACKING_SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/123456789012/abt.fifo' };
  const keys = { TRACKING_SQS_ACCESS_KEY_ID: 'AKIAEXAMPLE', TRACKING_SQS_SECRET_ACCESS_KEY: 'a-secret-for-tests-only' };
  const problemsOf = (env: Record<string, string>): string => {
    try {
      loadConfig({ ...complete, ...env });
      return '';
    } catch (error) {
      return (error as ConfigError).problems.join('\n');
    }
  };

  it.each([
    [{}, undefined],
    [http, 'http'],
    [sqs, 'sqs'],
    [{ ...sqs, ...keys }, 'sqs'],
    [{ TRACKING_SINK: 'log' }, 'log'],
  ] as [Record<string, string>, string | undefined][])('%j lead to %s', (env, name) => {
    const complet = withSystem(loadConfig({ ...complete, ...env }), 'tracking');
    expect(complet && createTrackingSink({ config: complet, writeEvent: () => {} }).name).toBe(name);
  });

  it.each([
    [{ TRACKING_SINK: 'http', TRACKING_URL: http.TRACKING_URL }, 'TRACKING_SECRETS is not set, but TRACKING_SINK is http'],
    [{ TRACKING_SINK: 'http', TRACKING_SECRETS: OLD }, 'TRACKING_URL is not set, but TRACKING_SINK is http'],
    [{ TRACKING_URL: http.TRACKING_URL }, 'TRACKING_SINK is not set, but TRACKING_URL is'],
    [{ TRACKING_SINK: 'sqs' }, 'TRACKING_SQS_QUEUE_URL is not set'],
    [{ ...sqs, TRACKING_SQS_ACCESS_KEY_ID: 'AKIAEXAMPLE' }, 'TRACKING_SQS_SECRET_ACCESS_KEY is not set'],
    [{ TRACKING_SINK: 'kafka' }, 'TRACKING_SINK must be http, sqs, log'],
    [{ ...http, OUTBOUND_ONLY: '127.0.0.1' }, 'TRACKING_URL leads to abt.example.com:443, which is not among the hosts of OUTBOUND_ONLY'],
  ] as [Record<string, string>, string][])('%j are refused: %s', (env, problem) => {
    expect(problemsOf(env)).toContain(problem);
  });

  it.each([
    [http, []],
    [{ ...sqs, ...keys }, []],
    [{ TRACKING_SINK: 'log' }, ['TRACKING_SINK']],
    // The installation's rights in AWS are not a project's to use.
    [sqs, ['TRACKING_SQS_ACCESS_KEY_ID', 'TRACKING_SQS_SECRET_ACCESS_KEY']],
    [{ ...sqs, ...keys, TRACKING_SQS_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com.example.com/123456789012/abt' }, ['TRACKING_SQS_QUEUE_URL']],
    [{ ...sqs, ...keys, TRACKING_SQS_QUEUE_URL: 'http://169.254.169.254/latest' }, ['TRACKING_SQS_QUEUE_URL']],
  ] as [Record<string, string>, string[]][])('of a project: %j have these problems: %j', (asked, names) => {
    const checked = checkSettings('tracking', asked, undefined);
    expect('problems' in checked ? checked.problems.map(({ name }) => name) : []).toEqual(names);
    if ('kept' in checked) expect(Object.keys(checked.kept.settings).filter((name) => /SECRET/.test(name))).toEqual([]);
  });

  it('name a queue’s region in its address', () => {
    expect([AWS_QUEUE.exec(sqs.TRACKING_SQS_QUEUE_URL)?.[1], AWS_QUEUE.test('https://sqs.cn-north-1.amazonaws.com.cn/123456789012/abt')]).toEqual(['eu-west-1', true]);
  });
});
