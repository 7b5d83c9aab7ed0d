import { describe, expect, it } from '@jest/globals';
import { ConfigError, loadConfig, withSystem } from '../../src/config.ts';
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
      for (const name of ['OPENAI_API_KEY', 'DATABASE_URL', 'S3_BUCKET', 'AFTERCALL_KEYS']) {
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
    ['WORKER_QUEUES', 'workflows, crn', /WORKER_QUEUES names "crn", but there are only workflows, recordings, llm, crm, messages/],
    ['INGEST_EVERY', '0s', /INGEST_EVERY must be longer than nothing/],
    ['MINUTES_BACK', '5', /MINUTES_BACK is 5 min, but a window is read only every 15 min/],
    ['INGEST_CRON', 'every morning', /INGEST_CRON must be a cron expression/],
  ];
  it.each(refused)('refuses %s=%s before anything is started', (name, value, message) => {
    expect(() => loadConfig({ ...complete, [name]: value })).toThrow(message);
  });

  const amocrm = {
    AMOCRM_BASE_URL: 'https://example.amocrm.ru/',
    AMOCRM_CLIENT_ID: 'id',
    AMOCRM_CLIENT_SECRET: 'amo-secret',
    AMOCRM_REFRESH_TOKEN: 'refresh',
    AMOCRM_REDIRECT_URI: 'https://example.com/amocrm',
  };
  it('takes amoCRM as a whole or not at all', () => {
    expect(withSystem(loadConfig(complete), 'amocrm')).toBeUndefined();
    expect(withSystem(loadConfig({ ...complete, ...amocrm }), 'amocrm')).toMatchObject({ AMOCRM_BASE_URL: 'https://example.amocrm.ru', AMOCRM_REQUESTS_PER_SECOND: 3 });
    for (const name of Object.keys(amocrm)) expect(() => loadConfig({ ...complete, ...amocrm, [name]: '' })).toThrow(`${name} is not set, but AMOCRM_`);
    expect(() => loadConfig({ ...complete, AMOCRM_ACCOUNT_ID: '1' })).toThrow(/5 settings are/);
    const secret = 'x'.repeat(40);
    expect(() => loadConfig({ ...complete, ...amocrm, AMOCRM_WEBHOOK_SECRET: secret })).toThrow('AMOCRM_ACCOUNT_ID is not set, but AMOCRM_WEBHOOK_SECRET is.');
    expect(() => loadConfig({ ...complete, ...amocrm, AMOCRM_ACCOUNT_ID: '1', AMOCRM_WEBHOOK_SECRET: secret })).not.toThrow();
    expect(() => loadConfig({ ...complete, ...amocrm, AMOCRM_ACCOUNT_ID: '1', AMOCRM_WEBHOOK_SECRET: 'short/guess' })).toThrow(/AMOCRM_WEBHOOK_SECRET must be 32 to 200(?!.*short\/guess)/);
  });

  it('takes every system as a whole or not at all, and says what is missing once one of its settings is there', () => {
    const without = (...groups: string[]) => Object.fromEntries(Object.entries(complete).filter(([name]) => !groups.some((group) => name.startsWith(group))));
    const bare = loadConfig(without('WEBEX_', 'SFDC_'));
    expect([withSystem(bare, 'webex'), withSystem(bare, 'amocrm'), withSystem(bare, 'salesforce')]).toEqual([undefined, undefined, undefined]);
    // Its defaults alone ask for nothing.
    expect(bare.SFDC_API_VERSION).toBe('68.0');
    expect(() => loadConfig({ ...without('WEBEX_'), WEBEX_CLIENT_ID: 'id' })).toThrow(/3 settings are[^]*WEBEX_BASE_URL is not set, but WEBEX_CLIENT_ID is\.[^]*WEBEX_CLIENT_SECRET is not set[^]*WEBEX_REFRESH_TOKEN is not set/);
    expect(() => loadConfig({ ...without('SFDC_'), SFDC_URL: 'https://x.my.salesforce.com' })).toThrow(/SFDC_CLIENT_ID is not set, but SFDC_URL is[^]*SFDC_CLIENT_SECRET is not set, nor are SFDC_USERNAME and SFDC_PRIVATE_KEY/);
  });

  it.each(['*/15 8-18 * * 1-5', '0 6 * * * # every morning', '@hourly', 'CRON_TZ=Asia/Singapore 0 6 * * *'])('takes the cron expression %s', (expression) => {
    expect(loadConfig({ ...complete, INGEST_CRON: expression }).INGEST_CRON).toBe(expression);
  });
});
