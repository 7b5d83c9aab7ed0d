/** A call of the sandbox: what Webex says of it, and, when its words are known, what is said on it. */
export interface SampleCall {
  /** The Webex task ID. A UUID. */
  taskId: string;
  /** What it is there to show. */
  title: string;
  task: {
    status: 'completed' | 'abandoned' | 'assigned';
    direction: 'inbound' | 'outbound';
    origin: string;
    destination: string;
    queue?: string;
    agent?: string;
    captureRequested: boolean | null;
    /** How long before the sandbox started the call began. */
    minutesAgo: number;
  };
  /** Absent: the call never gets one. */
  recording?: {
    /** File in `sandbox/calls/audio/`. */
    file: string;
    /** How Webex serves it. */
    servedAs: 'wav' | 'mp3' | 'mulaw-wav';
    /** How often the captures query answers with nothing before the recording is there. Default 0. */
    emptyLooks?: number;
    /** The agent is on the first channel; Webex labels the channels of each recording. */
    agentFirst?: boolean;
    /** Two channels that carry the same sound. */
    duplicatedMono?: boolean;
    /** Both voices on one channel. */
    mixed?: boolean;
  };
  /** Known words with times in ms, by channel (0 caller/customer, 1 agent). Absent: nobody wrote them down. */
  script?: ScriptLine[];
  /** What the CRM decision should be; the tests compare. */
  scenario?: string;
}

export interface ScriptLine {
  channel: 0 | 1;
  speaker: 'customer' | 'agent';
  startMs: number;
  endMs: number;
  text: string;
}

/** What a stand-in needs that plays the telephone system of these calls. */
export interface TelephonyOptions {
  port?: number;
  calls: readonly SampleCall[];
  audioFolder: string;
  dataFolder: string;
  ffmpegPath: string;
  /** Default: as long as the real one's. */
  tokenLifetimeSeconds?: number;
}
