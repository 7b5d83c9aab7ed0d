import type { CallKey } from './call.ts';
import type { CrmRecords, Decision } from './crm-rules.ts';

/**
 * The marker `SFDC/{TaskId}.txt`: what was decided for a call, by whom, and whether it has been done.
 *
 * It is written before the act. A crash between the two resumes the same decision; another run finds it
 * and skips.
 */
export interface CrmMarker {
  /** `project/callId`: tells our own retried write from somebody else's. */
  owner: string;
  state: 'decided' | 'done';
  decision: Decision;
  records?: CrmRecords;
  decidedAt: string;
  doneAt?: string;
  approvedBy?: string;
}

export const markerOwner = ({ project, callId }: CallKey): string => `${project}/${callId}`;

export const markerText = (marker: CrmMarker): string => `${JSON.stringify(marker)}\n`;

/** A marker's content, or undefined when it is none of ours, e.g. the plain text of an earlier system. */
export const parseMarker = (text: string): CrmMarker | undefined => {
  try {
    const marker = JSON.parse(text) as Partial<CrmMarker> | null;
    if (!marker?.owner || (marker.state !== 'decided' && marker.state !== 'done')) return undefined;
    const { scenario, action, reasons, facts } = marker.decision ?? {};
    return scenario && action && Array.isArray(reasons) && Array.isArray(facts) ? (marker as CrmMarker) : undefined;
  } catch {
    return undefined;
  }
};
