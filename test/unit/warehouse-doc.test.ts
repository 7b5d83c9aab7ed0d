import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from '@jest/globals';

it("says in the documentation of the warehouse's tables what the code says", async () => {
  const script = fileURLToPath(new URL('../../scripts/write-warehouse-doc.ts', import.meta.url));
  const stderr = await new Promise<string>((resolve) => {
    execFile(process.execPath, [script, '--check'], { env: { PATH: process.env['PATH'] } }, (error, _stdout, complaint) => resolve(error ? complaint || error.message : ''));
  });
  expect(stderr).toBe('');
});
