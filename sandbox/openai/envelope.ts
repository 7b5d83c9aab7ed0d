import { ffmpeg } from '../audio.ts';

/** Length of one step of an envelope. */
export const STEP_MS = 50;
const RATE = 8_000;
const SAMPLES_PER_STEP = (RATE * STEP_MS) / 1_000;

/** The loudness of a recording over time, one value per `STEP_MS`: survives any transcoding, unlike its bytes. */
export type Envelope = Float32Array;

/** Of each channel and of the mix of all, in this order. */
export const envelopesOf = async (ffmpegPath: string, audio: string | Uint8Array): Promise<{ channels: Envelope[]; mix: Envelope }> => {
  const input = typeof audio === 'string' ? audio : 'pipe:0';
  const pcm = await ffmpeg(ffmpegPath, ['-i', input, '-ac', '2', '-ar', String(RATE), '-f', 's16le', 'pipe:1'], typeof audio === 'string' ? undefined : audio);
  const frames = Math.floor(pcm.byteLength / 4);
  const steps = Math.floor(frames / SAMPLES_PER_STEP);
  const envelopes = [new Float32Array(steps), new Float32Array(steps), new Float32Array(steps)] as const;
  for (let step = 0; step < steps; step += 1) {
    const sums = [0, 0, 0];
    for (let at = step * SAMPLES_PER_STEP; at < (step + 1) * SAMPLES_PER_STEP; at += 1) {
      const left = pcm.readInt16LE(at * 4);
      const right = pcm.readInt16LE(at * 4 + 2);
      sums[0]! += left * left;
      sums[1]! += right * right;
      sums[2]! += ((left + right) / 2) ** 2;
    }
    for (const [index, sum] of sums.entries()) envelopes[index]![step] = Math.log10(1 + Math.sqrt(sum / SAMPLES_PER_STEP));
  }
  return { channels: [envelopes[0], envelopes[1]], mix: envelopes[2] };
};

/** Pearson correlation of `part` with the stretch of `whole` that starts at `offset`. */
const correlation = (whole: Envelope, part: Envelope, offset: number): number => {
  const length = Math.min(part.length, whole.length - offset);
  let sumA = 0;
  let sumB = 0;
  let sumAA = 0;
  let sumBB = 0;
  let sumAB = 0;
  for (let at = 0; at < length; at += 1) {
    const a = whole[offset + at]!;
    const b = part[at]!;
    sumA += a;
    sumB += b;
    sumAA += a * a;
    sumBB += b * b;
    sumAB += a * b;
  }
  const variance = (sumAA - (sumA * sumA) / length) * (sumBB - (sumB * sumB) / length);
  return variance <= 0 ? 0 : (sumAB - (sumA * sumB) / length) / Math.sqrt(variance);
};

const GOOD_MATCH = 0.9;
/** Codecs pad: lengths of the same audio differ by a few steps. */
const SLACK_STEPS = 4;

/** Where `part` lies in `whole`, in ms, if it does. */
export const locate = (whole: Envelope, part: Envelope): { offsetMs: number; likeness: number } | undefined => {
  if (part.length === 0 || part.length > whole.length + SLACK_STEPS) return undefined;
  let best = { offsetMs: 0, likeness: 0 };
  for (let offset = 0; offset <= Math.max(0, whole.length - part.length + SLACK_STEPS); offset += 1) {
    if (whole.length - offset < part.length / 2) break;
    const likeness = correlation(whole, part, offset);
    if (likeness > best.likeness) best = { offsetMs: offset * STEP_MS, likeness };
  }
  return best.likeness >= GOOD_MATCH ? best : undefined;
};
