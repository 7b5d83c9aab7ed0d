import { ApplicationFailure } from '@temporalio/workflow';

/** The error of an Update that does not fit the call's state. The message is for the person who asked. */
export const refuse = (message: string): ApplicationFailure => ApplicationFailure.create({ message, type: 'CONFLICT', nonRetryable: true });
