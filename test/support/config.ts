/** A complete environment; every address in it is a placeholder on loopback. */
export const complete: Record<string, string> = {
  AFTERCALL_KEYS: `k1:${Buffer.alloc(32, 7).toString('base64')}`,
  DATABASE_URL: 'pglite:',
  OBJECTS_DIR: '/nowhere',
  WEBEX_BASE_URL: 'http://127.0.0.1:1',
  WEBEX_TOKEN_URL: 'http://127.0.0.1:1/v1/access_token',
  WEBEX_CLIENT_ID: 'webex-client',
  WEBEX_CLIENT_SECRET: 'webex-secret',
  WEBEX_REFRESH_TOKEN: 'webex-refresh',
  OPENAI_BASE_URL: 'http://127.0.0.1:1/v1',
  OPENAI_API_KEY: 'openai-key',
  SFDC_URL: 'http://127.0.0.1:1',
  SFDC_CLIENT_ID: 'sfdc-client',
  SFDC_CLIENT_SECRET: 'sfdc-secret',
  OUTBOUND_ALLOW: '127.0.0.1',
  API_TOKEN: 'a-token-for-tests-only',
};
