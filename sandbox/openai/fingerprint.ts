import { ffmpeg } from '../audio.ts';

/**
 * What a recording sounds like: how strong each of a few bands of the telephone's range is, step by step.
 *
 * Unlike the bytes it survives transcoding, another gain and a narrower band; unlike the loudness alone it
 * tells one sentence from another that is as long.
 */
export interface Fingerprint {
  steps: number;
  /** `BANDS` values a step, in units of ln; the same everywhere in a step without sound. */
  levels: Float32Array;
  /** 1 where something sounds. */
  sounds: Uint8Array;
  /** Unit vectors that say how each step differs from the recording's usual sound; 0 where nothing sounds. */
  shapes: Float32Array;
}

/** A recording's length, its channels' fingerprints and that of their mix. */
export interface Listening {
  durationMs: number;
  channels: [Fingerprint, Fingerprint];
  mix: Fingerprint;
}

export const STEP_MS = 25;
const RATE = 8_000;
const HOP = (RATE * STEP_MS) / 1_000;
/** Samples looked at in each step: 64 ms, which blurs a shift of half a step. */
const WINDOW = 512;
/** Edges of the bands in Hz: evenly spaced as the ear hears it, inside what every telephone codec carries. */
const EDGES = [200, 300, 410, 530, 670, 830, 1_020, 1_240, 1_500, 1_810, 2_170, 2_600, 3_200];
const BANDS = EDGES.length - 1;
const BINS = EDGES.map((hz) => Math.round((hz * WINDOW) / RATE));
/** Nothing sounds this far below the loudest step, in ln of energy: 35 dB. */
const RANGE = 8;
/** Mean energy of a sample at -75 dB of full scale. Below it nothing sounds at all. */
const AUDIBLE = 32_768 ** 2 / 10 ** 7.5;

/** @param audio a path, or a whole file */
export const listen = async (ffmpegPath: string, audio: string | Uint8Array): Promise<Listening> => {
  const path = typeof audio === 'string';
  const pcm = await ffmpeg(ffmpegPath, ['-i', path ? audio : 'pipe:0', '-vn', '-ac', '2', '-ar', String(RATE), '-f', 's16le', 'pipe:1'], path ? undefined : audio);
  const samples = Math.floor(pcm.byteLength / 4);
  const steps = Math.floor(samples / HOP);
  const energies = [0, 1, 2].map(() => new Float32Array(steps * BANDS)) as [Float32Array, Float32Array, Float32Array];
  const re = new Float64Array(WINDOW);
  const im = new Float64Array(WINDOW);
  for (let step = 0; step < steps; step += 1) {
    // Centred on the step. One transform for both channels: the left is its real part, the right the imaginary.
    const first = step * HOP + (HOP - WINDOW) / 2;
    for (let at = 0; at < WINDOW; at += 1) {
      const sample = first + at;
      const inside = sample >= 0 && sample < samples;
      re[at] = inside ? pcm.readInt16LE(sample * 4) * HANN[at]! : 0;
      im[at] = inside ? pcm.readInt16LE(sample * 4 + 2) * HANN[at]! : 0;
    }
    transform(re, im);
    for (let band = 0; band < BANDS; band += 1) {
      let left = 0;
      let right = 0;
      let mix = 0;
      for (let bin = BINS[band]!; bin < BINS[band + 1]!; bin += 1) {
        const leftRe = (re[bin]! + re[WINDOW - bin]!) / 2;
        const leftIm = (im[bin]! - im[WINDOW - bin]!) / 2;
        const rightRe = (im[bin]! + im[WINDOW - bin]!) / 2;
        const rightIm = (re[WINDOW - bin]! - re[bin]!) / 2;
        left += leftRe ** 2 + leftIm ** 2;
        right += rightRe ** 2 + rightIm ** 2;
        mix += ((leftRe + rightRe) ** 2 + (leftIm + rightIm) ** 2) / 4;
      }
      energies[0][step * BANDS + band] = left;
      energies[1][step * BANDS + band] = right;
      energies[2][step * BANDS + band] = mix;
    }
  }
  const [left, right, mix] = energies.map(fingerprintOf) as [Fingerprint, Fingerprint, Fingerprint];
  return { durationMs: Math.round((samples / RATE) * 1_000), channels: [left, right], mix };
};

const fingerprintOf = (energies: Float32Array): Fingerprint => {
  const steps = energies.length / BANDS;
  const totals = Float64Array.from({ length: steps }, (_, step) => energies.subarray(step * BANDS, (step + 1) * BANDS).reduce((sum, energy) => sum + energy, 0));
  const loudest = totals.reduce((a, b) => Math.max(a, b), 0);
  const floor = Math.max(loudest * Math.exp(-RANGE), AUDIBLE * HANN_POWER);
  const bandFloor = Math.log(floor / BANDS);
  const levels = energies.map((energy) => Math.max(bandFloor, Math.log(energy + 1e-9)));
  const sounds = Uint8Array.from(totals, (total) => (total > floor ? 1 : 0));
  return { steps, levels, sounds, shapes: shapesOf(levels, sounds) };
};

const shapesOf = (levels: Float32Array, sounds: Uint8Array): Float32Array => {
  const usual = new Float64Array(BANDS);
  const sounding = sounds.reduce((sum, sound) => sum + sound, 0);
  for (const [step, sound] of sounds.entries()) if (sound) for (let band = 0; band < BANDS; band += 1) usual[band]! += levels[step * BANDS + band]! / sounding;
  const shapes = new Float32Array(levels.length);
  for (const [step, sound] of sounds.entries()) {
    if (!sound) continue;
    let square = 0;
    for (let band = 0; band < BANDS; band += 1) square += (shapes[step * BANDS + band] = levels[step * BANDS + band]! - usual[band]!) ** 2;
    for (let band = 0; band < BANDS; band += 1) shapes[step * BANDS + band]! /= Math.sqrt(square) || 1;
  }
  return shapes;
};

/** Where `part` lies in `whole`, and how sure that is: 1 is the same sound. */
export interface Place {
  offsetMs: number;
  likeness: number;
}

/** Steps that are compared at every offset, and offsets that are then looked at closely. */
const COARSE_STEPS = 160;
const CLOSE_LOOKS = 4;
/** Codecs pad: a part may begin a little before the whole, or end after it. */
const SLACK_STEPS = 8;
/** Less sound than this is like anything: half a second. */
const LEAST_SOUND = 500 / STEP_MS;

/** The likeliest place of `part` in `whole`; whether it is likely enough is for the caller to say. */
export const locate = (whole: Fingerprint, part: Fingerprint): Place | undefined => {
  const sounding = [...part.sounds.keys()].filter((step) => part.sounds[step]);
  if (sounding.length < LEAST_SOUND || part.steps > whole.steps + 2 * SLACK_STEPS) return undefined;
  const every = Math.max(1, sounding.length / COARSE_STEPS);
  const compared = Array.from({ length: Math.min(sounding.length, COARSE_STEPS) }, (_, index) => sounding[Math.floor(index * every)]!);
  const promising: { offset: number; score: number }[] = [];
  for (let offset = -SLACK_STEPS; offset <= whole.steps - part.steps + SLACK_STEPS; offset += 1) {
    let score = 0;
    for (const step of compared) {
      if (!whole.sounds[offset + step]) continue;
      const a = (offset + step) * BANDS;
      const b = step * BANDS;
      for (let band = 0; band < BANDS; band += 1) score += whole.shapes[a + band]! * part.shapes[b + band]!;
    }
    if (promising.length === CLOSE_LOOKS && score <= promising[0]!.score) continue;
    promising.push({ offset, score });
    promising.sort((a, b) => a.score - b.score);
    if (promising.length > CLOSE_LOOKS) promising.shift();
  }
  const places = promising.map(({ offset }) => ({ offsetMs: offset * STEP_MS, likeness: likenessAt(whole, part, offset) }));
  return places.sort((a, b) => b.likeness - a.likeness)[0];
};

/** Correlation of the bands' levels, each around its own mean, over the steps in which either sounds. */
const likenessAt = (whole: Fingerprint, part: Fingerprint, offset: number): number => {
  const from = Math.max(0, -offset);
  const to = Math.min(part.steps, whole.steps - offset);
  const sums = new Float64Array(BANDS * 5);
  let compared = 0;
  for (let step = from; step < to; step += 1) {
    if (!part.sounds[step] && !whole.sounds[offset + step]) continue;
    compared += 1;
    for (let band = 0; band < BANDS; band += 1) {
      const a = whole.levels[(offset + step) * BANDS + band]!;
      const b = part.levels[step * BANDS + band]!;
      const at = band * 5;
      sums[at]! += a;
      sums[at + 1]! += b;
      sums[at + 2]! += a * a;
      sums[at + 3]! += b * b;
      sums[at + 4]! += a * b;
    }
  }
  let squareA = 0;
  let squareB = 0;
  let product = 0;
  for (let at = 0; at < sums.length; at += 5) {
    const [a, b, aa, bb, ab] = sums.subarray(at, at + 5) as unknown as [number, number, number, number, number];
    squareA += aa - (a * a) / compared;
    squareB += bb - (b * b) / compared;
    product += ab - (a * b) / compared;
  }
  return squareA * squareB > 0 ? product / Math.sqrt(squareA * squareB) : 0;
};

const HANN = Float64Array.from({ length: WINDOW }, (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / WINDOW));
/** What a window makes of a sample's mean energy, summed over half of the bins. */
const HANN_POWER = (WINDOW * HANN.reduce((sum, weight) => sum + weight ** 2, 0)) / 2;
const COSINE = Float64Array.from({ length: WINDOW / 2 }, (_, at) => Math.cos((2 * Math.PI * at) / WINDOW));
const SINE = Float64Array.from({ length: WINDOW / 2 }, (_, at) => Math.sin((2 * Math.PI * at) / WINDOW));

/** Fourier transform in place, of a power of two of complex values. */
const transform = (re: Float64Array, im: Float64Array): void => {
  for (let at = 1, mirrored = 0; at < WINDOW; at += 1) {
    let bit = WINDOW >> 1;
    for (; mirrored & bit; bit >>= 1) mirrored ^= bit;
    mirrored ^= bit;
    if (at >= mirrored) continue;
    [re[at], re[mirrored]] = [re[mirrored]!, re[at]!];
    [im[at], im[mirrored]] = [im[mirrored]!, im[at]!];
  }
  for (let size = 2; size <= WINDOW; size *= 2) {
    const half = size / 2;
    const stride = WINDOW / size;
    for (let first = 0; first < WINDOW; first += size) {
      for (let at = 0; at < half; at += 1) {
        const a = first + at;
        const b = a + half;
        const cosine = COSINE[at * stride]!;
        const sine = SINE[at * stride]!;
        const turnedRe = re[b]! * cosine + im[b]! * sine;
        const turnedIm = im[b]! * cosine - re[b]! * sine;
        re[b] = re[a]! - turnedRe;
        im[b] = im[a]! - turnedIm;
        re[a]! += turnedRe;
        im[a]! += turnedIm;
      }
    }
  }
};
