import type { AccountState, CrmRecords } from '../../domain/crm-rules.ts';

/**
 * A customer relationship management system, in the business's words.
 *
 * Every act is safe to repeat with the same `key`; how is each adapter's business, and stated there.
 */
export interface Crm {
  readonly name: string;

  /**
   * The account of a company, by its registration number, else by its exact name, with its open opportunity.
   *
   * An account that answers to the name but has another registration number is not the company's.
   */
  lookUp(keys: { brn?: string; company?: string }, signal: AbortSignal): Promise<AccountState>;

  /** @throws CRM_DUPLICATE when the CRM's own rules see the lead as one it has, and name none to use */
  createLead(key: string, lead: NewLead, signal: AbortSignal): Promise<CrmRecords>;

  /**
   * Makes an opportunity of a lead.
   *
   * @param lead.accountId the customer's account, if it is known: used when it is the company that the
   *   lead is about, so that no second account is made for it
   * @param lead.company the company that the caller speaks for, as far as it was said: somebody may name the ID of
   *   another customer's lead
   * @throws CRM_REJECTED when there is no such lead, or it is another company's
   */
  convertLead(lead: { leadId: string; accountId?: string; company?: string }, signal: AbortSignal): Promise<CrmRecords>;

  /** Notes a renewal on the account and its open opportunity, above what stands there. */
  updateAccount(key: string, state: KnownAccount, note: CallNote, signal: AbortSignal): Promise<CrmRecords>;

  /**
   * Notes the call on the account and hands it to another owner.
   *
   * @param note.ownerId empty: the account keeps its owner
   */
  transfer(key: string, state: KnownAccount, note: CallNote & { ownerId: string }, signal: AbortSignal): Promise<CrmRecords>;

  /** A cheap check that the credentials work. */
  check(signal: AbortSignal): Promise<void>;

  /** Requests of the day, over all users of the CRM, when it last said so. */
  apiUsage?(): { used: number; limit: number } | undefined;
}

/** An account that was found. */
export type KnownAccount = AccountState & { account: NonNullable<AccountState['account']> };

export interface NewLead {
  lastName: string;
  company: string;
  brn?: string;
  email?: string;
  phone?: string;
  /** The call it comes from: the lead's description, or a note on the record that is there already. */
  note: CallNote;
}

export interface CallNote {
  subject: string;
  text: string;
  /** ISO date on which the call took place. */
  date: string;
  direction: 'inbound' | 'outbound';
}
