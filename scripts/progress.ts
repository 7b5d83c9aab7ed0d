import type { App } from '../src/app.ts';
import { CALL_STATES } from '../src/domain/call.ts';
import { DEFAULT_PROJECT } from '../src/domain/ids.ts';

const EVERY_MS = 500;

/** Shows how the calls come along, on one line of a terminal or as lines when they change, until `work` is done. */
export const showProgress = async <T>({ wiring }: App, work: Promise<T>): Promise<T> => {
  const terminal = process.stderr.isTTY;
  let shown = '';
  const show = async (): Promise<void> => {
    const counts = await wiring.calls.countByState(DEFAULT_PROJECT);
    const line = CALL_STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${state.replaceAll('_', ' ')}`).join(', ');
    if (line === shown) return;
    shown = line;
    // A line that wraps could not be written over.
    const whole = `calls: ${line || 'none yet'}`.slice(0, terminal ? (process.stderr.columns || 80) - 1 : undefined);
    process.stderr.write(terminal ? `\r\u001b[K${whole}` : `${whole}\n`);
  };
  const timer = setInterval(() => void show().catch(() => {}), EVERY_MS);
  try {
    const result = await work;
    await show();
    return result;
  } finally {
    clearInterval(timer);
    if (terminal) process.stderr.write('\n');
  }
};
