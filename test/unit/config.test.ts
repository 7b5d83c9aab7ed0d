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
      for (const name of ['WEBEX_BASE_URL', 'OPENAI_API_KEY', 'SFDC_URL', 'DATABASE_URL', 'S3_BUCKET', 'API_TOKEN', 'AFTERCALL_KEYS']) {
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
});
