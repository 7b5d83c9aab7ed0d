import { access } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type Browser, chromium } from 'playwright-core';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

let server: DevServer;
let system: TestSystem;
let api: RunningApi;
let browser: Browser;

const findChromium = async (): Promise<string> => {
  for (const path of [process.env['CHROMIUM_PATH'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']) {
    if (path && (await access(path).then(() => true, () => false))) return path;
  }
  throw new Error('No Chromium was found. Install it, or set CHROMIUM_PATH.');
};

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { API_PORT: '0' } });
  api = await startApi(system.wiring);
  browser = await chromium.launch({ executablePath: await findChromium(), args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] });
});
afterAll(async () => {
  await browser?.close();
  await api?.close();
  await system?.stop();
  await server?.stop();
});

it('shows every route in a browser, without an error and without asking anybody else', async () => {
  const page = await browser.newPage({ viewport: { width: 1200, height: 1400 } });
  const complaints: string[] = [];
  const foreign: string[] = [];
  page.on('console', (message) => void (message.type() === 'error' && complaints.push(message.text())));
  page.on('pageerror', (error) => void complaints.push(error.message));
  page.on('request', (request) => void (request.url().startsWith(api.url) || request.url().startsWith('data:') || foreign.push(request.url())));
  await page.goto(`${api.url}/docs`);
  const { paths } = (await (await fetch(`${api.url}/openapi.json`)).json()) as { paths: Record<string, object> };
  const routes = Object.values(paths).flatMap((methods) => Object.keys(methods)).length;
  // All at once, so that the browser's own search finds a route: swagger-ui from 5.33 keeps only what is in view of a long list.
  await until(`${routes} routes on the page`, async () => (await page.locator('.opblock').count()) === routes);
  expect(await page.locator('.opblock-tag').allTextContents()).toEqual(expect.arrayContaining([expect.stringContaining('Calls'), expect.stringContaining('Runs'), expect.stringContaining('Schedule')]));
  if (process.env['SCREENSHOT']) await page.screenshot({ path: process.env['SCREENSHOT'] });
  expect({ complaints, foreign }).toEqual({ complaints: [], foreign: [] });
});
