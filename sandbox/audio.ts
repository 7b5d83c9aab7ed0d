import { spawn } from 'node:child_process';

/** Runs ffmpeg and gives what it wrote to its standard output. `input` goes to its standard input. */
export const ffmpeg = (path: string, args: string[], input?: Uint8Array): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const child = spawn(path, ['-hide_banner', '-v', 'error', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve(Buffer.concat(out)) : reject(new Error(`ffmpeg ended with ${code}: ${complaint.trim().slice(-500)}`))));
    // ffmpeg may stop reading once it has seen enough.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
