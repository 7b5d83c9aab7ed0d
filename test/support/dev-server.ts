import { TestWorkflowEnvironment } from '@temporalio/testing';

/** The server looks for free ports and takes them a moment later: another test's process can be faster. */
const ATTEMPTS = 4;

/** A Temporal dev server with our search attributes, in memory. `TEMPORAL_CLI` names the program; `npm test` sets it. */
export const startDevServer = async (): Promise<TestWorkflowEnvironment> => {
  const path = process.env['TEMPORAL_CLI'];
  if (!path) throw new Error('TEMPORAL_CLI is not set. Run the tests with `npm test`, which finds the program and sets it.');
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startLocal(path);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
};

const startLocal = (path: string): Promise<TestWorkflowEnvironment> =>
  TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path },
      extraArgs: ['AftercallProject', 'AftercallSource', 'AftercallState'].flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
      log: { format: 'pretty', level: 'error' },
    },
  });

