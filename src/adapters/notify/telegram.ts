import type { Config } from '../../config.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { guardOf } from '../http/guard.ts';
import { type Answer, ask } from '../http/http.ts';
import { retryAfterMs } from '../http/retry-after.ts';
import type { Delivery, Message, Notifier, Targets } from './notifier.ts';
import { AnswerSchema, BotSchema } from './telegram.schema.ts';

type TelegramConfig = Pick<Config, 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY' | 'TELEGRAM_BASE_URL'>;
type Target = Targets['telegram'];

const TIMEOUT_MS = 15_000;
const TOKEN = /^\d+:[\w-]+$/;
const MAX_ANSWER_BYTES = 64 * 1024;
/** UTF-16 code units of what is shown, marks and escapes not counted. */
const MAX_TEXT = 4_096;

/**
 * Messages to a Telegram chat, by a bot.
 *
 * Class `no_key`: Telegram has nothing to tell a repeat by. So a message is sent again only when Telegram said that it
 * did not take it, or nothing was sent at all. A request whose answer was lost is `unknown`, and a person decides.
 * The bot's token is part of the URL, which therefore stands in no message.
 */
export const createTelegram = (config: TelegramConfig, { timeoutMs = TIMEOUT_MS }: { timeoutMs?: number } = {}): Notifier<'telegram'> => {
  const guard = guardOf(config);

  /** @returns the answer, or why there is none although the request went out */
  const post = async (method: 'sendMessage' | 'editMessageText', { botToken, chatId }: Target, fields: { text: string; message_id?: number }, signal: AbortSignal): Promise<Answer | { lost: string }> => {
    signal.throwIfAborted();
    if (!TOKEN.test(botToken)) throw new AftercallError('CONFIG_INVALID', "Sending the message failed: the bot's token has not the form of one.", { advice: '@BotFather shows it: digits, a colon, and letters.', outcome: 'refused' });
    try {
      return await ask({
        system: 'Telegram',
        doing: 'Sending the message',
        url: `${config.TELEGRAM_BASE_URL}/bot${botToken}/${method}`,
        guard,
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({ chat_id: chatId, ...fields, parse_mode: 'HTML', link_preview_options: { is_disabled: true } }),
        signal,
        timeoutMs,
        maxBytes: MAX_ANSWER_BYTES,
        secretPath: true,
      });
    } catch (error) {
      if (isAftercallError(error) && error.outcome === 'refused') throw error;
      // The worker's own end in the middle of it leaves it as open as a lost answer does.
      return { lost: isAftercallError(error) ? error.message : 'Sending the message was broken off while Telegram had not answered.' };
    }
  };

  const deliver = async (message: Message, target: Target, signal: AbortSignal, movedFrom?: string): Promise<Delivery> => {
    const answered = await post('sendMessage', target, { text: render(message) }, signal);
    if ('lost' in answered) return unknown(answered.lost);
    const answer = AnswerSchema.safeParse(parsed(answered.body));
    if (!answer.success) return unreadable(answered);
    if (answer.data.ok) {
      return { outcome: 'delivered', receipt: { messageId: answer.data.result.message_id, chatId: String(answer.data.result.chat.id), ...(movedFrom === undefined ? {} : { movedFrom }) } };
    }
    const { parameters } = answer.data;
    // The group became a supergroup. This one was refused, so sending it there is no repeat; once is enough.
    if (parameters?.migrate_to_chat_id !== undefined && movedFrom === undefined) return deliver(message, { ...target, chatId: String(parameters.migrate_to_chat_id) }, signal, target.chatId);
    throw refusal(answer.data, answered.headers);
  };

  /** The same text twice is refused as no change, which is what was wanted. */
  const correct = async (message: Message, target: Target, receipt: Record<string, unknown>, signal: AbortSignal): Promise<Delivery> => {
    const chatId = String(receipt['chatId'] ?? target.chatId);
    const answered = await post('editMessageText', { ...target, chatId }, { text: render(message), message_id: Number(receipt['messageId']) }, signal);
    if ('lost' in answered) throw new AftercallError('UPSTREAM_TIMEOUT', answered.lost, { advice: 'It is tried again.' });
    const answer = AnswerSchema.safeParse(parsed(answered.body));
    if (!answer.success) {
      const { reason } = unreadable(answered);
      throw new AftercallError('UPSTREAM_NONSENSE', reason, { advice: 'It is tried again.' });
    }
    if (answer.data.ok || /message is not modified/i.test(answer.data.description)) return { outcome: 'delivered', receipt };
    throw refusal(answer.data, answered.headers);
  };

  return { name: 'telegram', class: 'no_key', deliver: (message, target, signal) => deliver(message, target, signal), correct };
};

/** @returns the name of the bot that a token belongs to */
export const readBot = async (config: TelegramConfig, botToken: string, signal: AbortSignal): Promise<string> => {
  const answered = await ask({ system: 'Telegram', doing: 'Reading the bot', url: `${config.TELEGRAM_BASE_URL}/bot${botToken}/getMe`, guard: guardOf(config), headers: { accept: 'application/json' }, signal, timeoutMs: TIMEOUT_MS, maxBytes: MAX_ANSWER_BYTES, secretPath: true });
  const answer = BotSchema.safeParse(parsed(answered.body));
  if (answer.success && answer.data.ok) return answer.data.result.username;
  throw refusal(answer.success && !answer.data.ok ? answer.data : { error_code: answered.status, description: 'without an explanation' }, answered.headers, 'Reading the bot');
};

const unknown = (reason: string): Extract<Delivery, { outcome: 'unknown' }> => ({ outcome: 'unknown', reason, advice: 'Look into the chat. If the message is not there, send it again.' });

/** Something between us and Telegram, or a Telegram that stumbled after it had the message. */
const unreadable = ({ status, headers }: Answer): Extract<Delivery, { outcome: 'unknown' }> => {
  // Turned away, by Telegram or a proxy: the message was not taken.
  if (status >= 300 && status < 500 && status !== 408) throw refusal({ error_code: status, description: 'without an explanation' }, headers);
  return unknown(`Sending the message was answered with ${status} and something that is not Telegram's word.`);
};

const parsed = (body: string): unknown => {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
};

/** What Telegram says it did not do. */
const refusal = ({ error_code: code, description, parameters }: { error_code: number; description: string; parameters?: { retry_after?: number | undefined } | undefined }, headers: Headers, doing = 'Sending the message'): AftercallError => {
  const message = `${doing} failed: Telegram answered ${code} (${description.slice(0, 200)}).`;
  const refused = (errorCode: 'AUTH_FAILED' | 'RATE_LIMITED' | 'UPSTREAM_UNAVAILABLE' | 'UPSTREAM_REJECTED', advice: string, waitMs?: number): AftercallError =>
    new AftercallError(errorCode, message, { advice, outcome: 'refused', ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }) });
  if (code === 429) {
    const waitMs = parameters?.retry_after === undefined ? retryAfterMs(headers.get('retry-after'), Date.now()) : parameters.retry_after * 1_000;
    return refused('RATE_LIMITED', 'It is tried again after the time asked for.', waitMs);
  }
  if (code >= 500) return refused('UPSTREAM_UNAVAILABLE', 'It is tried again. If it goes on, check the status of Telegram.');
  // A token of the wrong form is answered as a page that is not there.
  if (code === 401 || code === 404) return refused('AUTH_FAILED', "Check the bot's token, which @BotFather shows, and TELEGRAM_BASE_URL.");
  if (code === 403) return refused('UPSTREAM_REJECTED', 'The bot was blocked, or removed from the group. Let it in again, or take this chat off the notifications.');
  if (/chat not found/i.test(description)) return refused('UPSTREAM_REJECTED', 'Check the chat ID. A person has to write to the bot first; into a group or channel it has to be invited.');
  return refused('UPSTREAM_REJECTED', 'Telegram does not accept this message; trying again will not help.');
};

/** The message in Telegram's HTML: the title, the lines as far as there is room, and the link. */
export const render = ({ title, lines, link }: Pick<Message, 'title' | 'lines' | 'link'>): string => {
  const label = link && /^https?:\/\//i.test(link.url) ? cut(tidy(link.label) || 'More', 200) : '';
  const heading = cut(tidy(title) || 'Aftercall', 256);
  // What is shown is counted; so text is cut first and marked up after.
  const room = MAX_TEXT - heading.length - '\n'.length - (label ? '\n'.length + label.length : 0);
  const body = cut(lines.map(tidy).join('\n').trimEnd(), room);
  return [`<b>${escape(heading)}</b>`, ...(body ? [escape(body)] : []), ...(label ? [`<a href="${escape(link!.url)}">${escape(label)}</a>`] : [])].join('\n');
};

/** Line breaks are kept; what is no text, or would be no valid UTF-8, is not. */
const tidy = (text: string): string => text.toWellFormed().replaceAll(/[\p{Cc}\u2028\u2029]+/gu, (found) => (found.includes('\n') ? '\n' : ' ')).trim();

const ELLIPSIS = '…';
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** Cuts after a line or a sentence if one ends near, else after a word, and never within a character as people see it. */
const cut = (text: string, limit: number): string => {
  if (text.length <= limit) return text;
  const room = limit - ELLIPSIS.length;
  const border = graphemes.segment(text).containing(room)?.index ?? room;
  const head = text.slice(0, border);
  // Further back than that, too much would be lost.
  const near = Math.floor(head.length * 0.8);
  const line = head.lastIndexOf('\n');
  if (line >= near) return `${head.slice(0, line).trimEnd()}\n${ELLIPSIS}`.slice(0, limit);
  const word = head.search(/\s\S*$/);
  return `${(word >= near ? head.slice(0, word) : head).trimEnd()}${ELLIPSIS}`;
};

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
