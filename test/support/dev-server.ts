import { TestWorkflowEnvironment } from '@temporalio/testing';

/** A Temporal dev server with our search attributes, in memory. `TEMPORAL_CLI` names the program; `npm test` sets it. */
export const startDevServer = async (): Promise<TestWorkflowEnvironment> => {
  const path = process.env['TEMPORAL_CLI'];
  if (!path) throw new Error('TEMPORAL_CLI is not set. Run the tests with `npm test`, which finds the program and sets it.');
  return TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path },
      extraArgs: ['AftercallProject', 'AftercallSource', 'AftercallState'].flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
      log: { format: 'pretty', level: 'error' },
    },
  });
};

