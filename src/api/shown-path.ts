/** A path as it may be logged: an address can be a secret. */
export const shownPath = (path: string): string => path.replace(/^(\/webhooks\/amocrm\/).*/i, '$1…');
