import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { CallNote, Crm, KnownAccount } from '../adapters/crm/crm.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { CallRow, Calls } from '../db/calls.ts';
import type { Effects } from '../db/effects.ts';
import type { Projects } from '../db/projects.ts';
import type { EffectClass } from '../db/schema.ts';
import type { CrmActivities } from '../domain/activities.ts';
import type { CallVersion } from '../domain/call.ts';
import { type CrmMarker, markerOwner, markerText, parseMarker } from '../domain/crm-marker.ts';
import { type CrmAction, type CrmRecords, decide, type Decision, factOf, lookupKeys, needsApproval } from '../domain/crm-rules.ts';
import { AftercallError } from '../domain/errors.ts';
import { plausiblePhone } from '../domain/fact-checks.ts';
import { crmMarkerKey } from '../domain/ids.ts';
import type { ProjectSettings } from '../domain/settings.ts';
import { signal } from './context.ts';
import type { ExtractFacts } from './crm-facts.ts';

interface Dependencies {
  calls: Calls;
  effects: Effects;
  projects: Projects;
  objects: ObjectStore;
  crm: Crm;
  extractFacts: ExtractFacts;
}

/** What is promised for each act, as the effects' ledger states it. */
const EFFECT_CLASS: Record<Exclude<CrmAction, 'none'>, EffectClass> = {
  create_lead: 'upsert_by_key',
  convert_lead: 'read_before_write',
  update_account: 'read_before_write',
  transfer: 'upsert_by_key',
};

/** Acts in whatever CRM the call's project is connected to now. */
export const createCrmActivities = ({ adaptersOf, ...dependencies }: Omit<Dependencies, 'crm'> & { adaptersOf: AdaptersOf }): CrmActivities => ({
  async actOnCrm(input) {
    const { project } = input.call;
    const { crm } = await adaptersOf(project);
    if (!crm) return { state: 'off', reason: `No CRM is connected to project ${project}.` };
    return createActs({ ...dependencies, crm }).actOnCrm(input);
  },
});

const createActs = ({ calls, effects, projects, objects, crm, extractFacts }: Dependencies): CrmActivities => {
  const writeMarker = (call: CallVersion, marker: CrmMarker): Promise<void> =>
    objects.put(crmMarkerKey(call), markerText(marker), { contentType: 'text/plain', signal: signal() });

  /** The decision of this call: the one that an earlier attempt wrote down, or a new one, written down before it is acted on. */
  const decisionOf = async (call: CallVersion, settings: ProjectSettings): Promise<{ marker: CrmMarker } | { foreign: true }> => {
    const key = crmMarkerKey(call);
    const readBack = async (): Promise<{ marker: CrmMarker } | { foreign: true } | undefined> => {
      const text = await objects.getText(key, { signal: signal() });
      if (text === undefined) return undefined;
      const marker = parseMarker(text);
      return marker?.owner === markerOwner(call) ? { marker } : { foreign: true };
    };
    const found = await readBack();
    if (found) return found;

    const facts = await extractFacts(call);
    const state = await crm.lookUp(lookupKeys(facts, settings), signal());
    const marker: CrmMarker = { owner: markerOwner(call), state: 'decided', decision: decide(facts, state, settings), decidedAt: new Date().toISOString() };
    const written = await objects.putIfAbsent(key, markerText(marker), { contentType: 'text/plain', signal: signal() });
    if (written) return { marker };
    // Somebody was faster: perhaps our own request, whose answer was lost. The one that stands counts.
    const standing = await readBack();
    if (!standing) throw new AftercallError('CONFLICT', `The marker of call ${call.callId} was deleted while it was being written.`, { advice: 'It is tried again.' });
    return standing;
  };

  return {
    /**
     * Acts in the CRM on what was said, once per call.
     *
     * The marker `SFDC/{TaskId}.txt` holds the decision before anything is done; whoever finds it
     * `decided` carries the same decision on, and whoever finds it `done` does nothing.
     */
    async actOnCrm({ call, approvedBy }) {
      const settings = await projects.settings(call.project);
      if (!settings.runCrmActions) return { state: 'off' };
      await calls.beginStep(call, 'crm');
      const decided = await decisionOf(call, settings);
      if ('foreign' in decided) return { state: 'already_done' };

      const { marker } = decided;
      const { decision } = marker;
      const { scenario, action, reasons } = decision;
      const keep = (records: CrmRecords): Promise<void> => calls.keepResult(call, 'crm', { scenario, action, reasons, records });
      if (marker.state === 'done') {
        await keep(marker.records ?? {});
        return { state: 'already_done', scenario };
      }
      if (approvedBy === undefined && marker.approvedBy === undefined && needsApproval(decision, settings.crmApproval)) return { state: 'needs_approval', scenario, action, reasons };

      if (approvedBy !== undefined) await writeMarker(call, { ...marker, approvedBy });
      const records = action === 'none' ? {} : await carryOut(call, action, decision, settings);
      await keep(records);
      await writeMarker(call, { ...marker, state: 'done', records, doneAt: new Date().toISOString(), ...(approvedBy === undefined ? {} : { approvedBy }) });
      return { state: 'done', scenario, action };
    },
  };

  async function carryOut(call: CallVersion, action: Exclude<CrmAction, 'none'>, decision: Decision, settings: ProjectSettings): Promise<CrmRecords> {
    const effect = { ...call, effect: action, target: crm.name, class: EFFECT_CLASS[action] };
    const planned = await effects.plan(effect, { scenario: decision.scenario, facts: decision.facts.map(({ name, value }) => ({ name, value })) });
    if (planned.state === 'done') return planned.receipt ?? {};
    const records = await act(action, planned.key, decision, await calls.get(call), settings);
    await effects.done(effect, { ...records });
    return records;
  }

  /** @param key the effect's: deterministic, and made of characters that fit an external ID */
  async function act(action: Exclude<CrmAction, 'none'>, key: string, decision: Decision, call: CallRow, settings: ProjectSettings): Promise<CrmRecords> {
    const note = noteOf(call, decision);
    const company = factOf(decision, 'company');
    switch (action) {
      case 'create_lead': {
        const optional = { brn: factOf(decision, 'brn'), email: factOf(decision, 'email'), phone: factOf(decision, 'phone') ?? plausiblePhone(phoneOf(call) ?? '') };
        return crm.createLead(
          key,
          {
            // Salesforce wants a last name; callers often give but one.
            lastName: factOf(decision, 'customerName') ?? factOf(decision, 'callerName') ?? 'Unknown',
            company: factOf(decision, 'company')!,
            note,
            ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
          },
          signal(),
        );
      }
      case 'convert_lead':
        return crm.convertLead({ leadId: factOf(decision, 'leadId')!, ...(decision.account ? { accountId: decision.account.id } : {}), ...(company === undefined ? {} : { company }) }, signal());
      case 'update_account':
        return crm.updateAccount(key, await accountOf(decision, settings), note, signal());
      case 'transfer':
        return crm.transfer(key, await accountOf(decision, settings), { ...note, ownerId: settings.managedAccountsOwner }, signal());
    }
  }

  /**
   * The account that was decided on, as it is now: its owner and opportunity may have changed while the
   * decision waited for a person. Another account than the one that was approved is never touched.
   */
  async function accountOf(decision: Decision, settings: ProjectSettings): Promise<KnownAccount> {
    const { account, ...rest } = await crm.lookUp(lookupKeys(decision.facts, settings), signal());
    if (!account || account.id !== decision.account?.id) {
      throw new AftercallError('CRM_REJECTED', `The account ${decision.account?.name ?? ''} that this was decided for is not the one that its company and registration number lead to any more.`, {
        advice: 'Look for it in Salesforce. Retry once it is found there again, or skip the step.',
        outcome: 'refused',
      });
    }
    return { account, ...rest };
  }
};

const phoneOf = ({ details }: CallRow): string | undefined => (details.direction === 'inbound' ? details.originPhone : details.destinationPhone);

/** What a person in the CRM reads about the call. */
const noteOf = (call: CallRow, decision: Decision): CallNote => {
  const fact = (label: string, value: string | undefined): string[] => (value ? [`${label}: ${value}`] : []);
  const subject = { transfer: 'Revenue-flagged customer called: transfer to Managed Accounts', update_account: 'Customer wants to renew' }[decision.action as string] ?? 'Enquiry by phone';
  return {
    subject,
    date: call.startedAt.toISOString().slice(0, 10),
    direction: call.details.direction,
    text: [
      `${subject}, call ${call.callId}.`,
      ...decision.reasons,
      ...fact('Caller', factOf(decision, 'callerName')),
      ...fact('Service', factOf(decision, 'serviceType')),
      ...fact('Requirements', factOf(decision, 'requirements')),
    ].join('\n'),
  };
};
