// Posteriors flow in, detections flow out: the decision of speechrnn/spotter.py with the card's settings.
//
// A word is detected in the block where its smoothed posterior reaches its threshold. It can fire again when the
// posterior has fallen below `hysteresis` times the threshold; for `refractory_seconds` after a detection nothing fires.

/** Python's round(): halves go to the even neighbour. */
function round(value) {
  const floor = Math.floor(value), rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

export class Spotter {
  /**
   * @param card - as `readCard` gives it
   * @param threshold - of all words, in (0, 1]; undefined for the card's
   */
  constructor(card, threshold) {
    const blockSeconds = card.block_length / card.sample_rate;
    this.card = card;
    this.words = card.words;
    this.columns = card.words.map((word) => card.labels.indexOf(word));
    this.window = Math.max(1, round(card.smoothing_seconds / blockSeconds)); // blocks
    this.refractory = round(card.refractory_seconds / blockSeconds); // blocks
    this.setThreshold(threshold);
    this.reset();
  }

  /** Another threshold for all words from now on; undefined for the card's. */
  setThreshold(threshold) {
    this.upper = this.words.map((word) => threshold ?? this.card.thresholds[word]);
    this.lower = this.upper.map((upper) => this.card.hysteresis * upper);
  }

  /** Forget smoothing, refractory and time. */
  reset() {
    this.recent = Array.from({ length: this.window - 1 }, () => new Float32Array(this.words.length)); // oldest first
    this.armed = this.words.map(() => true);
    this.readyAt = 0; // block from which a word may fire
    this.blocks = 0;
    this.posterior = new Float64Array(this.words.length); // smoothed, of each word, at the end of the last block
  }

  /** How much sound has been decided on. */
  get seconds() {
    return (this.blocks * this.card.block_length) / this.card.sample_rate;
  }

  /** Posteriors (Float32Array [blocks * labels]) of the next blocks -> list of {label, time, probability}. */
  decide(posteriors) {
    const labels = this.card.labels.length, detections = [];
    for (let start = 0; start < posteriors.length; start += labels) {
      const row = this.columns.map((column) => posteriors[start + column]);
      this.recent.push(row);
      this.posterior = row.map((_, i) => this.recent.reduce((sum, past) => sum + past[i], 0) / this.window);
      this.recent.shift();
      const detection = this.#decideBlock(this.posterior);
      if (detection) detections.push(detection);
    }
    return detections;
  }

  #decideBlock(smoothed) {
    let detection, best = -1;
    if (this.blocks >= this.readyAt) {
      smoothed.forEach((value, i) => {
        if (this.armed[i] && value >= this.upper[i] && (best < 0 || value > smoothed[best])) best = i;
      });
    }
    if (best >= 0) {
      this.armed[best] = false;
      this.readyAt = this.blocks + this.refractory;
      const time = ((this.blocks + 1) * this.card.block_length) / this.card.sample_rate;
      detection = { label: this.words[best], time: Number(time.toFixed(4)), probability: smoothed[best] };
    }
    smoothed.forEach((value, i) => { if (value < this.lower[i]) this.armed[i] = true; });
    this.blocks += 1;
    return detection;
  }
}
