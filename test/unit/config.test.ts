import { describe, expect, it } from '@jest/globals';
import { ConfigError, loadConfig } from '../../src/config.ts';
import { complete } from '../support/config.ts';

describe('configuration', () => {
  it('takes a complete environment', () => {
    const config = loadConfig(complete);
    expect(config.INGEST_EVERY).toBe(15 * 60_000);
    expect(config.S3_BUCKET).toBeUndefined();
  });

  it('names every missing setting at once', () => {
    expect(() => loadConfig({})).toThrow(ConfigError);
    try {
      loadConfig({});
    } catch (error) {
      const { problems } = error as ConfigError;
      for (const name of ['WEBEX_BASE_URL', 'OPENAI_API_KEY', 'SFDC_URL', 'DATABASE_URL', 'S3_BUCKET', 'AFTERCALL_KEYS']) {
        expect(problems.some((problem) => problem.includes(name))).toBe(true);
      }
    }
  });

  it('says what is wrong with a value, and never repeats a secret', () => {
    const broken = { ...complete, INGEST_EVERY: 'soon', API_TOKEN: 'short-secret', BRN_FORMATS: '(' };
    expect(() => loadConfig(broken)).toThrow(/INGEST_EVERY must be a whole number/);
    expect(() => loadConfig(broken)).toThrow(/API_TOKEN must have at least 16/);
    expect(() => loadConfig(broken)).toThrow(/BRN_FORMATS/);
    expect(() => loadConfig(broken)).not.toThrow(/short-secret/);
  });

  const refused: [string, string, RegExp][] = [
    ['AFTERCALL_KEYS', 'k1:too-short', /AFTERCALL_KEYS(?!.*too-short)/],
    ['WORKER_QUEUES', 'workflows, crn', /WORKER_QUEUES names "crn", but there are only workflows, recordings, llm, crm/],
    ['INGEST_EVERY', '0s', /INGEST_EVERY must be longer than nothing/],
    ['INGEST_CRON', 'every morning', /INGEST_CRON must be a cron expression/],
  ];
  it.each(refused)('refuses %s=%s before anything is started', (name, value, message) => {
    expect(() => loadConfig({ ...complete, [name]: value })).toThrow(message);
  });

  it.each(['*/15 8-18 * * 1-5', '0 6 * * * # every morning', '@hourly', 'CRON_TZ=Asia/Singapore 0 6 * * *'])('takes the cron expression %s', (expression) => {
    expect(loadConfig({ ...complete, INGEST_CRON: expression }).INGEST_CRON).toBe(expression);
  });
});
