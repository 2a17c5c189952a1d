// Turn posteriors into detections: the decision of speechrnn/decision.py with the card's settings.
//
// A word is detected in the block where its smoothed posterior reaches its threshold. It can fire again when the
// posterior has fallen below `hysteresis` times the threshold; for `refractory_seconds` after a detection nothing fires.
// The `probability` of a detection is the posterior that reached the threshold; its `peak` rises until that time is over.

import { wholeBlocks } from "./card.js";
import { NearMisses } from "./near_misses.js";

export class Spotter {
  /**
   * @param card - as `readCard` gives it
   * @param threshold - of all words, in (0, 1]; undefined for the card's
   */
  constructor(card, threshold) {
    this.card = card;
    this.words = card.words;
    this.columns = card.words.map((word) => card.labels.indexOf(word));
    this.window = Math.max(1, wholeBlocks(card, card.smoothing_seconds)); // blocks
    this.refractory = wholeBlocks(card, card.refractory_seconds); // blocks
    this.reset();
    this.setThreshold(threshold);
  }

  /** Another threshold for all words from now on; undefined for the card's. */
  setThreshold(threshold) {
    this.upper = this.words.map((word) => threshold ?? this.card.thresholds[word]);
    this.lower = this.upper.map((upper) => this.card.hysteresis * upper);
    this.closeness.detected(this.posterior, this.upper); // what was close was so to other thresholds
  }

  /** Forget smoothing, refractory and time. */
  reset() {
    this.recent = Array.from({ length: this.window - 1 }, () => new Float32Array(this.words.length)); // oldest first
    this.armed = this.words.map(() => true);
    this.readyAt = 0; // block from which a word may fire
    this.blocks = 0;
    this.posterior = new Array(this.words.length).fill(0); // smoothed, of each word, at the end of the last block
    this.highest = this.posterior; // smoothed, the highest of each word within the last call of `decide`
    this.nearMisses = []; // that were over within the last call: {label, time, peak, threshold}
    this.pending = undefined; // the last detection, while its peak can still rise
    this.closeness = new NearMisses(this.words.length);
  }

  /** How much sound has been decided on. */
  get seconds() {
    return (this.blocks * this.card.block_length) / this.card.sample_rate;
  }

  /** Posteriors (Float32Array [blocks * labels]) of the next blocks -> list of {label, time, probability, peak}. */
  decide(posteriors) {
    const labels = this.card.labels.length, detections = [];
    this.nearMisses = [];
    this.highest = this.posterior;
    for (let start = 0; start < posteriors.length; start += labels) {
      const row = this.columns.map((column) => posteriors[start + column]);
      this.recent.push(row);
      this.posterior = row.map((_, i) => this.recent.reduce((sum, past) => sum + past[i], 0) / this.window);
      this.recent.shift();
      this.highest = start ? this.posterior.map((value, i) => Math.max(value, this.highest[i])) : this.posterior;
      const detection = this.#decideBlock(this.posterior);
      if (detection) detections.push(detection);
    }
    return detections;
  }

  /** The sound has ended: no peak rises any more, and a word that is close was a near miss. */
  finish() {
    this.pending = undefined;
    this.nearMisses = this.closeness.finish().map((missed) => this.#nearMiss(missed));
  }

  #decideBlock(smoothed) {
    let detection, best = -1;
    const ready = this.blocks >= this.readyAt;
    if (ready) {
      smoothed.forEach((value, i) => {
        if (this.armed[i] && value >= this.upper[i] && (best < 0 || value > smoothed[best])) best = i;
      });
    }
    if (best >= 0) {
      const probability = smoothed[best];
      detection = { label: this.words[best], time: this.#endOf(this.blocks), probability, peak: probability };
      this.pending = detection;
      this.armed[best] = false;
      this.readyAt = this.blocks + this.refractory;
      this.closeness.detected(smoothed, this.upper);
    } else {
      if (this.pending) {
        this.pending.peak = Math.max(this.pending.peak, smoothed[this.words.indexOf(this.pending.label)]);
      }
      const able = this.armed.map((armed) => armed && ready);
      const missed = this.closeness.follow(smoothed, this.upper, able, this.blocks);
      this.nearMisses.push(...missed.map((one) => this.#nearMiss(one)));
    }
    smoothed.forEach((value, i) => { if (value < this.lower[i]) this.armed[i] = true; });
    this.blocks += 1;
    if (this.blocks >= this.readyAt) this.pending = undefined;
    return detection;
  }

  #nearMiss({ word, block, peak }) {
    return { label: this.words[word], time: this.#endOf(block), peak, threshold: this.upper[word] };
  }

  /** Of a block, in seconds. */
  #endOf(block) {
    return Number((((block + 1) * this.card.block_length) / this.card.sample_rate).toFixed(4));
  }
}
