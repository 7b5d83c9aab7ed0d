import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Heard, SpeechEngine } from './speech.ts';

interface Answer {
  ready?: boolean;
  fatal?: string;
  error?: string;
  language?: string;
  duration?: number;
  segments?: { start: number; end: number; text: string }[];
}

/** Transcribes what is really said, with faster-whisper in a Python process that keeps the model loaded. */
export const startWhisperSpeech = async ({ pythonPath, modelPath }: { pythonPath: string; modelPath: string }): Promise<SpeechEngine> => {
  const child: ChildProcessWithoutNullStreams = spawn(pythonPath, [fileURLToPath(new URL('./whisper.py', import.meta.url)), modelPath]);
  const waiting: ((answer: Answer) => void)[] = [];
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(JSON.parse(line) as Answer));
  const fail = (why: string): void => {
    for (const answer of waiting.splice(0)) answer({ fatal: why });
  };
  child.once('error', (error) => fail(`${pythonPath} cannot be started: ${error.message}`));
  child.once('exit', (code) => fail(`the speech process ended with ${code}: ${complaint.trim()}`));
  const nextAnswer = (): Promise<Answer> => new Promise((resolve) => waiting.push(resolve));

  const greeting = await nextAnswer();
  if (greeting.fatal) throw new Error(`Local speech recognition did not start: ${greeting.fatal}`);

  return {
    async hear(audio, { language }): Promise<Heard> {
      const path = join(tmpdir(), `speech-${randomUUID()}`);
      await writeFile(path, audio);
      try {
        // Answers come in the order of the questions: the process takes one at a time.
        const coming = nextAnswer();
        child.stdin.write(`${JSON.stringify({ path, ...(language ? { language } : {}) })}\n`);
        const { fatal, error, segments = [], ...answer } = await coming;
        if (fatal ?? error) throw new Error(fatal ?? error);
        return {
          provider: 'faster-whisper',
          model: basename(modelPath) === 'model' ? 'whisper (local)' : basename(modelPath),
          language: answer.language,
          durationMs: Math.round((answer.duration ?? 0) * 1_000),
          // It does not tell speakers apart.
          segments: segments.map(({ start, end, text }) => ({ startMs: Math.round(start * 1_000), endMs: Math.round(end * 1_000), text, speaker: 'A' })),
        };
      } finally {
        await rm(path, { force: true });
      }
    },
    async close() {
      child.stdin.end();
      child.kill();
    },
  };
};
