import express, { type Response } from 'express';
import { faultOf, type SandboxServer, startSandboxServer } from '../server.ts';
import { parseHtml } from './html.ts';

/** The bot that this stand-in knows, and the chats that it is or was in. */
export const TELEGRAM_BOT = {
  token: '100000001:sandbox-telegram-bot-token-0000000',
  chats: { team: '-1001000000001', alerts: '-1001000000002', person: '200000001', blocked: '200000002', removed: '-1001000000003', upgraded: '-4000000004', upgradedTo: '-1001000000004' },
};

const MAX_TEXT = 4_096;

/**
 * A stand-in for Telegram's Bot API: `getMe`, `sendMessage` and `editMessageText`.
 *
 * Sent messages are in the ledger as `message_sent`, with the text as people see it, and changes of them as `message_edited`. A fault that it acts out itself:
 * `too_many` with `retryAfter` in seconds.
 */
export const startTelegram = ({ port = 0, dataFolder }: { port?: number; dataFolder?: string } = {}): Promise<SandboxServer> =>
  startSandboxServer(
    'telegram',
    ({ app, record, ledger }) => {
      const chats: Record<string, string> = TELEGRAM_BOT.chats;
      const answer = (messageId: number, chat: string, text: string) => ({ ok: true, result: { message_id: messageId, date: Math.floor(Date.now() / 1_000), chat: { id: Number(chat), type: chat.startsWith('-100') ? 'supergroup' : 'private' }, text } });
      app.get('/bot:token/getMe', (request, response) => {
        if (request.params.token !== TELEGRAM_BOT.token) return refuse(response, 401, 'Unauthorized');
        response.json({ ok: true, result: { id: 100_000_001, is_bot: true, first_name: 'Sandbox', username: 'sandbox_bot' } });
      });
      app.post('/bot:token/:method', express.json({ limit: '1mb' }), (request, response, next) => {
        const { method } = request.params;
        if (method !== 'sendMessage' && method !== 'editMessageText') return next();
        if (request.params.token !== TELEGRAM_BOT.token) return refuse(response, 401, 'Unauthorized');
        const fault = faultOf(response) as { kind: string; retryAfter?: number } | undefined;
        if (fault?.kind === 'too_many') return refuse(response, 429, `Too Many Requests: retry after ${fault.retryAfter}`, { retry_after: fault.retryAfter });
        const { chat_id: chatId, text, parse_mode: parseMode } = (request.body ?? {}) as Record<string, unknown>;
        const chat = String(chatId);
        if (chat === chats['blocked']) return refuse(response, 403, 'Forbidden: bot was blocked by the user');
        if (chat === chats['removed']) return refuse(response, 403, 'Forbidden: bot was kicked from the supergroup chat');
        if (chat === chats['upgraded']) return refuse(response, 400, 'Bad Request: group chat was upgraded to a supergroup chat', { migrate_to_chat_id: Number(chats['upgradedTo']) });
        if (!Object.values(chats).includes(chat)) return refuse(response, 400, 'Bad Request: chat not found');
        if (typeof text !== 'string') return refuse(response, 400, 'Bad Request: message text is empty');
        const read = parseMode === 'HTML' ? parseHtml(text) : { text };
        if ('problem' in read) return refuse(response, 400, `Bad Request: can't parse entities: ${read.problem}`);
        const shown = read.text.trim();
        if (shown === '') return refuse(response, 400, 'Bad Request: message text is empty');
        if (shown.length > MAX_TEXT) return refuse(response, 400, 'Bad Request: message is too long');
        if (method === 'editMessageText') {
          const { message_id: edited } = request.body as { message_id?: unknown };
          const versions = ledger().filter((entry) => entry['messageId'] === edited && entry['chatId'] === chat);
          if (versions.length === 0) return refuse(response, 400, 'Bad Request: message to edit not found');
          if (versions.at(-1)!['text'] === shown) return refuse(response, 400, 'Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message');
          record('message_edited', { messageId: edited, chatId: chat, text: shown });
          return void response.json(answer(edited as number, chat, shown));
        }
        const messageId = ledger().length + 1;
        record('message_sent', { messageId, chatId: chat, text: shown });
        response.json(answer(messageId, chat, shown));
      });
      app.use((_request, response) => refuse(response, 404, 'Not Found'));
    },
    { port, dataFolder },
  );

const refuse = (response: Response, code: number, description: string, parameters?: object): void =>
  void response.status(code).json({ ok: false, error_code: code, description, ...(parameters ? { parameters } : {}) });
