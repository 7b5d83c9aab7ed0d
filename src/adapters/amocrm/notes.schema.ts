import { z } from 'zod';

/** What amoCRM answers about notes, as far as it is used. Unknown fields are let through: the API grows. */

/** Whoever writes the call down chooses the types: one program's odd note must not stop the window. */
const word = z.union([z.string(), z.number()]).transform(String).nullish().catch(undefined);
const seconds = z.coerce.number().nonnegative().finite().catch(0);

const Params = z.preprocess(
  // An empty object comes as an empty list.
  (params) => (params === null || Array.isArray(params) ? {} : params),
  z.object({ phone: word, link: word, duration: seconds.optional(), call_responsible: word, text: word }),
);

export const NoteSchema = z.object({
  id: z.number().int().positive(),
  entity_id: z.number().int().positive(),
  note_type: z.string(),
  created_at: z.number().int().nonnegative(),
  updated_at: z.number().int().nonnegative(),
  responsible_user_id: z.number().int().nullish(),
  params: Params.default({}),
});
export type Note = z.infer<typeof NoteSchema>;

const Links = z.object({ next: z.unknown().optional() }).nullish();

export const NotesSchema = z.object({ _embedded: z.object({ notes: z.array(NoteSchema) }), _links: Links });

export const UsersSchema = z.object({ _embedded: z.object({ users: z.array(z.object({ id: z.number().int(), name: z.string().nullish() })) }), _links: Links });

export const CreatedSchema = z.object({ _embedded: z.object({ notes: z.array(z.object({ id: z.number().int().positive() })).min(1) }) });
