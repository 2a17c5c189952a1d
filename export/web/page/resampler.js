// Resample sound piece by piece; where it is cut makes no difference.
//
// Output sample m lies at time m / outputRate, between input samples. Its value is the input under a low-pass filter
// centred there: a sinc of limited length (Kaiser window), as in Smith, "Digital Audio Resampling",
// https://ccrma.stanford.edu/~jos/resample/. The ratio of two rates is a fraction up / down, so there are only `up`
// different places between two input samples, and as many sets of filter weights (a polyphase filter).

const PASS = 0.913; // share of the band below half the lower rate that is kept; that of the "HQ" of soxr
const REJECTION = 120; // dB, of what would be folded back

export class Resampler {
  /** @param inputRate, outputRate - whole numbers of Hz */
  constructor(inputRate, outputRate) {
    const divisor = greatestCommonDivisor(inputRate, outputRate);
    this.up = outputRate / divisor;
    this.down = inputRate / divisor;
    const nyquist = Math.min(1, this.up / this.down) / 2; // in cycles per input sample
    const transition = nyquist * (1 - PASS);
    this.cutoff = nyquist - transition / 2;
    // Length and shape of a Kaiser window: Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.5.3.
    this.half = Math.ceil((REJECTION - 7.95) / (2.285 * 2 * Math.PI * transition) / 2); // input samples to each side
    this.beta = 0.1102 * (REJECTION - 8.7);
    this.phases = new Array(this.up); // weights, computed when first needed
    this.reset();
  }

  reset() {
    this.samples = new Float32Array(this.half); // silence in front of the sound
    this.first = -this.half; // number of the input sample that samples[0] is
    this.next = 0; // number of the next output sample
    this.received = 0; // input samples
  }

  /** The next input samples (Float32Array) -> the output samples that are known by then. */
  process(samples) {
    if (this.up === this.down) return samples;
    this.received += samples.length;
    return this.#convolve(samples, Infinity);
  }

  /** The sound has ended: the output samples up to there. */
  finish() {
    if (this.up === this.down) return new Float32Array(0);
    return this.#convolve(new Float32Array(this.half + 1), Math.round((this.received * this.up) / this.down));
  }

  #convolve(samples, end) {
    const sound = new Float32Array(this.samples.length + samples.length);
    sound.set(this.samples);
    sound.set(samples, this.samples.length);
    const output = [], taps = 2 * this.half;
    let start = 0;
    for (; this.next < end; this.next++) {
      const place = this.next * this.down, before = Math.floor(place / this.up);
      start = before - this.half + 1 - this.first;
      if (start + taps > sound.length) break;
      const weights = this.#weights(place % this.up);
      let sum = 0;
      for (let i = 0; i < taps; i++) sum += weights[i] * sound[start + i];
      output.push(sum);
    }
    const used = Math.min(Math.max(start, 0), sound.length);
    this.samples = sound.slice(used);
    this.first += used;
    return Float32Array.from(output);
  }

  /** Filter weights for an output sample that lies phase / up behind an input sample. */
  #weights(phase) {
    if (!this.phases[phase]) {
      const weights = new Float64Array(2 * this.half), offset = phase / this.up;
      let total = 0;
      for (let i = 0; i < weights.length; i++) {
        const distance = i - this.half + 1 - offset; // input samples
        weights[i] = sinc(2 * this.cutoff * distance) * kaiser(distance / this.half, this.beta);
        total += weights[i];
      }
      this.phases[phase] = weights.map((weight) => weight / total); // a constant stays what it is
    }
    return this.phases[phase];
  }
}

function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** The Kaiser window at x in [-1, 1]. */
function kaiser(x, beta) {
  return Math.abs(x) > 1 ? 0 : bessel(beta * Math.sqrt(1 - x * x)) / bessel(beta);
}

/** The modified Bessel function of the first kind and order zero, by its power series. */
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
