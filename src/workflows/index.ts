export { applyRetention, eraseCalls } from './erase-calls.ts';
export { bulkRuling } from './bulk-ruling.ts';
export { deliverMessage } from './deliver-message.ts';
export { ingestWindow } from './ingest-window.ts';
export { presetTest } from './preset-test.ts';
export { rescore } from './rescore.ts';
export { processCall } from './process-call.ts';
export { publishCall } from './publish-call.ts';
export { voiceLines } from './voice-lines.ts';
