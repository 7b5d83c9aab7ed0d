const NOWHERE = 'http://127.0.0.1:1';

/** Settings of systems that a bench needs to name and never asks. */
export const UNUSED_SYSTEMS = {
  WEBEX_BASE_URL: NOWHERE,
  WEBEX_CLIENT_ID: 'none',
  WEBEX_CLIENT_SECRET: 'none',
  WEBEX_REFRESH_TOKEN: 'none',
  OPENAI_BASE_URL: NOWHERE,
  OPENAI_API_KEY: 'none',
  SFDC_URL: NOWHERE,
  SFDC_CLIENT_ID: 'none',
  SFDC_CLIENT_SECRET: 'none',
};
