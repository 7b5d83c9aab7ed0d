import { createHash } from 'node:crypto';
import { sql, type Transaction } from 'kysely';
import { centsToMicroUsd, type Usage } from '../domain/cost.ts';
import { type ProviderCall, VOICE_PROVIDER } from '../domain/voice.ts';
import { json } from './database.ts';
import type { Schema } from './schema.ts';
import * as spending from './spending.ts';

/** The one entry of what a provider charged for a call, whoever tells of it: under the provider's ID of the call. */
export const voiceChargeKey = ({ project, callId, provider }: { project: string; callId: string; provider: string }): string =>
  `voice:${createHash('sha256').update(JSON.stringify([project, callId, provider])).digest('hex')}`;

/** What was seen of one of the provider's calls, and of which voice call it is. */
export interface SeenBill {
  voiceCallId: string;
  /** As which call the voice call goes on, once it was handed over. */
  callId: string | null;
  call: ProviderCall;
}

interface Bill {
  key: string;
  voiceCallId: string;
  callId: string | null;
  microUsd: number;
  seconds: number;
}

/** Whether an observation brings a bill that is not written down as high as that. */
export const hasGrown = (before: ProviderCall | undefined, now: ProviderCall): boolean => (now.costCents ?? 0) > (before?.costCents ?? 0);

/**
 * Writes down what the provider has charged for calls, in the transaction that takes in where that was seen.
 *
 * Observations come out of order, so a bill is only ever raised here, and never the products that the processing of
 * the call has read of it. Until a voice call is handed over, what it cost is its own.
 */
export const chargeSeen = async (tx: Transaction<Schema>, project: string, seen: readonly SeenBill[]): Promise<void> => {
  const bills = new Map<string, Bill>();
  for (const { voiceCallId, callId, call } of seen) {
    const bill = { key: voiceChargeKey({ project, callId: call.providerCallId, provider: VOICE_PROVIDER }), voiceCallId, callId, microUsd: centsToMicroUsd(call.costCents ?? 0), seconds: Math.ceil((call.durationMs ?? 0) / 1_000) };
    if (bill.microUsd > (bills.get(bill.key)?.microUsd ?? 0)) bills.set(bill.key, bill);
  }
  if (bills.size > 0) await write(tx, project, bills);
};

const write = async (tx: Transaction<Schema>, project: string, bills: ReadonlyMap<string, Bill>): Promise<void> => {
  const spent = await keep(tx, project, bills);
  const byDay = new Map<string, number>();
  for (const { day, microUsd } of spent) byDay.set(day, (byDay.get(day) ?? 0) + microUsd);
  // Last, as wherever something is charged: everybody's day is locked for no longer than that.
  for (const [day, microUsd] of [...byDay].toSorted(([one], [other]) => (one < other ? -1 : 1))) await spending.add(tx, { project, day, microUsd });
};

/** @returns by how much what was spent has grown, and on which days */
const keep = async (tx: Transaction<Schema>, project: string, bills: ReadonlyMap<string, Bill>): Promise<{ day: string; microUsd: number }[]> => {
  const today = new Date().toISOString().slice(0, 10);
  const spent: { day: string; microUsd: number }[] = [];

  // In one order, so that two who have calls in common wait for each other and not both.
  const known = await tx.selectFrom('costs').select(['key', 'micro_usd', 'usage', sql<string>`to_char(day, 'YYYY-MM-DD')`.as('day')]).where('project', '=', project).where('key', '=', sql<string>`any(${[...bills.keys()]})`).orderBy('key').forUpdate().execute();
  const raised = known.flatMap(({ key, micro_usd: before, usage, day }) => {
    const { microUsd, seconds } = bills.get(key)!;
    if (microUsd <= Number(before)) return [];
    spent.push({ day, microUsd: microUsd - Number(before) });
    return [{ key, micro_usd: microUsd, usage: usage?.kind === 'voice' ? { ...usage, seconds: Math.max(usage.seconds, seconds) } : usageOf(seconds) }];
  });
  if (raised.length > 0) {
    await sql`update costs set micro_usd = seen.micro_usd, usage = seen.usage from jsonb_to_recordset(${json(raised)}::jsonb) as seen (key text, micro_usd bigint, usage jsonb)
      where costs.project = ${project} and costs.key = seen.key`.execute(tx);
  }

  const there = new Set(known.map(({ key }) => key));
  const fresh = [...bills.values()].filter(({ key }) => !there.has(key)).toSorted((one, other) => (one.key < other.key ? -1 : 1));
  const written = fresh.length === 0 ? [] : await insert(tx, project, { bills: fresh, day: today });
  for (const key of written) spent.push({ day: today, microUsd: bills.get(key)!.microUsd });

  // The processing of the call has just written it down.
  const late = fresh.filter(({ key }) => !written.includes(key));
  return late.length === 0 ? spent : [...spent, ...(await keep(tx, project, new Map(late.map((bill) => [bill.key, bill]))))];
};

/** @returns the keys of those that were not there */
const insert = async (tx: Transaction<Schema>, project: string, { bills, day }: { bills: readonly Bill[]; day: string }): Promise<string[]> => {
  const rows = bills.map(({ key, voiceCallId, callId, microUsd, seconds }) => ({ key, voice_call_id: voiceCallId, call_id: callId, micro_usd: microUsd, usage: usageOf(seconds) }));
  const written = await sql<{ key: string }>`
    insert into costs (key, project, call_id, voice_call_id, version, step, kind, provider, model, state, usage, micro_usd, day, settled_at)
    select seen.key, ${project}, calls.call_id, seen.voice_call_id, 1, 'voice', 'voice', ${VOICE_PROVIDER}, 'call', 'settled', seen.usage, seen.micro_usd, ${day}::date, now()
    from jsonb_to_recordset(${json(rows)}::jsonb) as seen (key text, voice_call_id text, call_id text, micro_usd bigint, usage jsonb)
    left join calls on calls.project = ${project} and calls.call_id = seen.call_id
    order by seen.key
    on conflict do nothing returning key`.execute(tx);
  return written.rows.map(({ key }) => key);
};

/** What a handed-over call has cost goes with it. */
export const moveCharges = async (tx: Transaction<Schema>, { project, voiceCallId, callId }: { project: string; voiceCallId: string; callId: string }): Promise<void> => {
  await tx
    .updateTable('costs')
    .set({ call_id: callId })
    .where('project', '=', project)
    .where('voice_call_id', '=', voiceCallId)
    .where('call_id', 'is', null)
    .where((eb) => eb.exists(eb.selectFrom('calls').select('calls.call_id').where('calls.project', '=', project).where('calls.call_id', '=', callId)))
    .execute();
};

const usageOf = (seconds: number): Usage => ({ kind: 'voice', seconds, products: [] });
