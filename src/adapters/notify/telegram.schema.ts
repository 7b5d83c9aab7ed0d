import { z } from 'zod';

const Refused = z.object({
  ok: z.literal(false),
  error_code: z.number(),
  description: z.string(),
  parameters: z.object({ retry_after: z.number().nonnegative().optional(), migrate_to_chat_id: z.union([z.number(), z.string()]).optional() }).optional(),
});

/** What it answers to `getMe`. */
export const BotSchema = z.discriminatedUnion('ok', [z.object({ ok: z.literal(true), result: z.object({ username: z.string() }) }), Refused]);

/** What the Bot API answers to `sendMessage`. */
export const AnswerSchema = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), result: z.object({ message_id: z.number(), chat: z.object({ id: z.union([z.number(), z.string()]) }) }) }),
  Refused,
]);
