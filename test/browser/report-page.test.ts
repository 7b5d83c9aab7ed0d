import { access } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Browser, chromium, type Page } from 'playwright-core';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { startApi } from '../../src/api/start.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

const CALL = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;

let server: DevServer;
let system: TestSystem;
let api: Api;
let browser: Browser;
let complaints: string[];
let foreign: string[];

const findChromium = async (): Promise<string> => {
  for (const path of [process.env['CHROMIUM_PATH'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']) {
    if (path && (await access(path).then(() => true, () => false))) return path;
  }
  throw new Error('No Chromium was found. Install it, or set CHROMIUM_PATH.');
};

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { API_PORT: '0' } });
  await system.startCall(CALL);
  await system.until(CALL, 'completed');
  api = await startApi(system.wiring);
  browser = await chromium.launch({ executablePath: await findChromium(), args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--autoplay-policy=no-user-gesture-required'] });
});
afterAll(async () => {
  await browser?.close();
  await api?.close();
  await system?.stop();
  await server?.stop();
});

const report = (forMs?: number): string => system.wiring.reportLinks.make(system.key(CALL), forMs).url.replace(/^.*?\/calls\//, `${api.url}/calls/`);

const open = async (url: string, { width = 1_200, dark = false, allowed = 0 } = {}): Promise<Page> => {
  complaints = [];
  foreign = [];
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: dark ? 'dark' : 'light' });
  page.on('console', (message) => void (message.type() === 'error' && complaints.push(message.text())));
  page.on('pageerror', (error) => void complaints.push(error.message));
  page.on('request', (request) => void (request.url().startsWith(api.url) || request.url().startsWith('data:') || foreign.push(request.url())));
  await page.goto(url);
  if (allowed === 0) expect({ complaints, foreign }).toEqual({ complaints: [], foreign: [] });
  return page;
};
const shoot = async (page: Page, name: string): Promise<void> => {
  const folder = process.env['SCREENSHOTS'];
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
};

describe("a call's report in a browser", () => {
  it('shows score, summary, scorecard with quotes, and the transcript, without an error and without asking anybody else', async () => {
    const page = await open(report());
    const { analysis, transcript } = await system.wiring.calls.getVersion({ ...system.key(CALL), version: 1 });
    expect(await page.locator('.score strong').textContent()).toBe(String(analysis!.grading.total_score_percent));
    expect(await page.locator('main').textContent()).toContain(analysis!.summary);
    expect(await page.locator('.criterion').count()).toBe(analysis!.answers.length);
    expect(await page.locator('.criterion blockquote').count()).toBe(analysis!.answers.flatMap(({ evidence }) => evidence).length);
    expect(await page.locator('.turns li').count()).toBe(transcript!.turns);
    await shoot(page, 'report-desktop');
    await page.close();
    await shoot(await open(report(), { dark: true }), 'report-dark');
  });

  it('goes to a quote in the player when its time is pressed', async () => {
    const page = await open(report());
    await page.waitForFunction('document.querySelector("audio").readyState >= 1');
    const time = page.locator('blockquote a[data-at]').last();
    const atMs = Number(await time.getAttribute('data-at'));
    await time.click();
    await page.waitForFunction(`document.querySelector("audio").currentTime >= ${atMs / 1_000 - 0.5}`);
    expect(new URL(page.url()).hash).toMatch(/^#turn-\d+$/);
    expect(complaints).toEqual([]);
  });

  it('fits a phone, and prints without the player', async () => {
    const page = await open(report(), { width: 390 });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await shoot(page, 'report-phone');
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('.player').isVisible()).toBe(false);
  });

  it('lets a member sign in where the link has expired, and shows the report then', async () => {
    const page = await open(report(-2_000), { width: 390, allowed: 1 });
    expect(await page.locator('h1').textContent()).toBe('This link has expired');
    await shoot(page, 'report-expired');
    await page.fill('input[name=email]', api.firstAdmin!.email);
    await page.fill('input[name=password]', api.firstAdmin!.password);
    await page.click('button');
    await page.waitForSelector('.criterion');
    expect(await page.locator('footer').textContent()).toContain(`Signed in as ${api.firstAdmin!.email}`);
    expect(await page.evaluate('document.cookie')).toBe('');
    await page.waitForFunction('document.querySelector("audio").readyState >= 1');
  });
});
