// Compute log-mel frames of sound piece by piece, for the picture: the parameters are those of the model's front
// end, but the network makes its own in the graph.

const LN10 = Math.log(10);

export class LogMel {
  /** @param frontEnd - of the card: window_length, hop_length, n_fft, n_mels, f_min, f_max, log_offset */
  constructor(frontEnd, sampleRate) {
    this.hop = frontEnd.hop_length;
    this.offset = frontEnd.log_offset;
    this.length = frontEnd.window_length;
    this.size = 2 ** Math.ceil(Math.log2(Math.max(frontEnd.n_fft, this.length)));
    this.window = Float64Array.from( // Hann, periodic
      { length: this.length }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this.length),
    );
    this.bands = melBands(frontEnd, this.size, sampleRate);
    this.fourier = new Fourier(this.size);
    this.reset();
  }

  reset() {
    this.rest = new Float32Array(this.length - this.hop);
  }

  /** The next samples (Float32Array) -> frames that they complete, each a Float32Array [n_mels] in dB. */
  process(samples) {
    const sound = new Float32Array(this.rest.length + samples.length), frames = [];
    sound.set(this.rest);
    sound.set(samples, this.rest.length);
    let start = 0;
    for (; start + this.length <= sound.length; start += this.hop) {
      frames.push(this.#frame(sound.subarray(start, start + this.length)));
    }
    this.rest = sound.slice(start);
    return frames;
  }

  #frame(samples) {
    const real = new Float64Array(this.size), imaginary = new Float64Array(this.size);
    for (let i = 0; i < this.length; i++) real[i] = samples[i] * this.window[i];
    this.fourier.transform(real, imaginary);
    return Float32Array.from(this.bands, ({ first, weights }) => {
      let power = 0;
      weights.forEach((weight, i) => { power += weight * (real[first + i] ** 2 + imaginary[first + i] ** 2); });
      return (10 / LN10) * Math.log(power + this.offset);
    });
  }
}

/** Fast Fourier transform of a length that is a power of two, in place (Cooley and Tukey 1965). */
export class Fourier {
  constructor(size) {
    this.size = size;
    this.cosine = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sine = Float64Array.from({ length: size / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / size));
  }

  transform(real, imaginary) {
    for (let i = 1, j = 0; i < this.size; i++) { // into the order of reversed bits
      let bit = this.size >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [real[i], real[j]] = [real[j], real[i]];
        [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
      }
    }
    for (let half = 1; half < this.size; half *= 2) {
      const step = this.size / (2 * half);
      for (let start = 0; start < this.size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const even = start + k, odd = even + half, cosine = this.cosine[k * step], sine = this.sine[k * step];
          const x = real[odd] * cosine + imaginary[odd] * sine, y = imaginary[odd] * cosine - real[odd] * sine;
          real[odd] = real[even] - x;
          imaginary[odd] = imaginary[even] - y;
          real[even] += x;
          imaginary[even] += y;
        }
      }
    }
  }
}

/** Triangles of equal width on the mel scale (HTK: 2595 log10(1 + f / 700)), for the bins of the Fourier transform. */
function melBands({ n_mels: count, f_min: lowest, f_max: highest }, size, sampleRate) {
  const mel = (frequency) => 2595 * Math.log10(1 + frequency / 700);
  const edges = Array.from({ length: count + 2 }, (_, i) => {
    const place = mel(lowest) + ((mel(highest) - mel(lowest)) * i) / (count + 1);
    return 700 * (10 ** (place / 2595) - 1);
  });
  return Array.from({ length: count }, (_, band) => {
    const [low, middle, high] = edges.slice(band, band + 3), weights = [];
    const first = Math.ceil((low * size) / sampleRate);
    for (let bin = first; (bin * sampleRate) / size < high; bin++) {
      const frequency = (bin * sampleRate) / size;
      weights.push(Math.min((frequency - low) / (middle - low), (high - frequency) / (high - middle)));
    }
    return { first, weights };
  });
}
