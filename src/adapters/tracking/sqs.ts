import type { SQSClient } from '@aws-sdk/client-sqs';
import { AftercallError, type ErrorCode, messageOf } from '../../domain/errors.ts';
import type { Guard } from '../http/guard.ts';
import type { TrackingEnvelope, TrackingSink } from './sink.ts';

/** For the whole of a try; a connection that takes longer than 5 s will not come. */
const LIMIT_MS = 10_000;
const TIMEOUTS = { connectionTimeout: 5_000, requestTimeout: LIMIT_MS };

interface SqsSink {
  queueUrl: string;
  /** Used where the queue's address does not name one. */
  region: string;
  /** Default: where the AWS SDK looks. */
  credentials?: { accessKeyId: string; secretAccessKey: string } | undefined;
  /** Where a project's administrator has named the queue: the address is checked before each request. */
  guard?: Guard | undefined;
}

/** A queue of AWS, and its region: `https://sqs.<region>.amazonaws.com/<account>/<name>`. */
export const AWS_QUEUE = /^https:\/\/sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?\/\d{12}\/[\w-]{1,80}(?:\.fifo)?$/;

/**
 * Events to an Amazon SQS queue.
 *
 * To a FIFO queue (`….fifo`) a call's events are one message group, so they stay in order, and the event's key is the
 * deduplication ID: SQS drops a repeat within five minutes, class `upsert_by_key`. A standard queue does neither;
 * consumers go by `id` and `sequence`.
 */
export const createSqsSink = ({ queueUrl, region, credentials, guard }: SqsSink): TrackingSink => {
  const isFifo = queueUrl.endsWith('.fifo');
  let made: Promise<SQSClient> | undefined;
  // Loaded only when asked for: most installations have no use for it.
  const client = (): Promise<SQSClient> =>
    (made ??= import('@aws-sdk/client-sqs').then(
      ({ SQSClient: Client }) =>
        // Its own retries would hide tries from the log, and repeat what may have arrived.
        new Client({ region: AWS_QUEUE.exec(queueUrl)?.[1] ?? region, endpoint: new URL(queueUrl).origin, maxAttempts: 1, requestHandler: TIMEOUTS, ...(credentials ? { credentials } : {}) }),
    ));
  const explained = async <T>(doing: string, signal: AbortSignal, work: (abortSignal: AbortSignal) => Promise<T>): Promise<T> => {
    await guard?.check(guard.parse(queueUrl));
    const limit = AbortSignal.timeout(LIMIT_MS);
    try {
      return await work(AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      throw limit.aborted ? new AftercallError('UPSTREAM_TIMEOUT', `${doing} failed: SQS did not answer within ${LIMIT_MS / 1_000} s.`, { advice: 'It is tried again.', cause: error }) : explain(doing, error);
    }
  };

  return {
    name: 'sqs',
    class: isFifo ? 'upsert_by_key' : 'no_key',

    send: (event, signal) =>
      explained('Sending the event', signal, async (abortSignal) => {
        const { SendMessageCommand } = await import('@aws-sdk/client-sqs');
        const { MessageId, SequenceNumber } = await (await client()).send(
          new SendMessageCommand({
            QueueUrl: queueUrl,
            MessageBody: JSON.stringify(event),
            MessageAttributes: attributesOf(event),
            ...(isFifo ? { MessageGroupId: event.subject, MessageDeduplicationId: event.id } : {}),
          }),
          { abortSignal },
        );
        return { outcome: 'delivered', receipt: { messageId: MessageId ?? null, ...(SequenceNumber ? { sequenceNumber: SequenceNumber } : {}) } };
      }),

    check: (signal) =>
      explained('Looking at the queue', signal, async (abortSignal) => {
        const { GetQueueAttributesCommand } = await import('@aws-sdk/client-sqs');
        await (await client()).send(new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['QueueArn'] }), { abortSignal });
        return `The ${isFifo ? 'FIFO' : 'standard'} queue was found.`;
      }),
  };
};

/** For filters of subscriptions and pipes, which need not read the body then. */
const attributesOf = ({ event, project, schemaVersion }: TrackingEnvelope) => ({
  event: { DataType: 'String', StringValue: event },
  project: { DataType: 'String', StringValue: project },
  schemaVersion: { DataType: 'Number', StringValue: String(schemaVersion) },
});

interface AwsError {
  name?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number };
  /** Of Node, where there was no connection. */
  code?: string;
  syscall?: string;
}

const THROTTLED = /Throttl|TooManyRequests|OverLimit|SlowDown/;
const DENIED = /AccessDenied|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient|ExpiredToken|InvalidSecurity|MissingAuthenticationToken|CredentialsProviderError|KmsAccessDenied/;
const MISSING = /NonExistentQueue|QueueDoesNotExist|InvalidAddress/;

/** What went wrong, in our words. Nothing of the credentials is in it. */
const explain = (doing: string, thrown: unknown): AftercallError => {
  const error = thrown as AwsError;
  const name = error.name ?? '';
  const status = error.$metadata?.httpStatusCode;
  const fail = (code: ErrorCode, what: string, advice: string, outcome: 'refused' | 'unknown' = 'refused'): AftercallError => new AftercallError(code, `${doing} failed: ${what}`, { advice, outcome, cause: thrown });
  if (DENIED.test(name)) return fail('AUTH_FAILED', `SQS does not let us in (${name}).`, 'Check the credentials, and that they may sqs:SendMessage and sqs:GetQueueAttributes on this queue and use its KMS key.');
  if (MISSING.test(name)) return fail('NOT_FOUND', `there is no such queue (${name}).`, 'Check TRACKING_SQS_QUEUE_URL, its region and its account.');
  if (status === 429 || THROTTLED.test(name)) return fail('RATE_LIMITED', `SQS asks to slow down (${name}).`, 'It is tried again.');
  if (status !== undefined && status >= 500) return fail('UPSTREAM_UNAVAILABLE', `SQS answered ${status} (${name}).`, 'It is tried again.', 'unknown');
  if (status !== undefined && status >= 400) return fail('UPSTREAM_REJECTED', `SQS answered ${status}: ${name}: ${messageOf(thrown).slice(0, 200)}`, 'Check that the queue is of the kind that its name says.');
  const unsent = error.syscall === 'connect' || error.syscall === 'getaddrinfo';
  return fail('UPSTREAM_UNAVAILABLE', `SQS cannot be reached: ${messageOf(thrown) || (error.code ?? name)}`, 'Check the address and the network. It is tried again.', unsent ? 'refused' : 'unknown');
};
