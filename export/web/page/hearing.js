// A stream of the network over sound at 16 kHz, and the spotter that decides on its
// posteriors.

import { Spotter } from "./spotter.js";

export class Hearing {
  /**
   * @param recognizer - gives `card` and `stream()`
   * @param threshold - of all words; undefined for the card's
   */
  constructor(recognizer, threshold) {
    this.stream = recognizer.stream();
    this.spotter = new Spotter(recognizer.card, threshold);
    this.milliseconds = 0; // spent on it all
    this.nearMisses = []; // of the last call of `process` or `finish`
    this.highest = this.spotter.highest; // of it, too: the highest smoothed posterior of each word
  }

  /** The next samples (Float32Array, any number) -> what is detected in them. One call at a time. */
  async process(samples) {
    const started = performance.now(), detections = [];
    this.nearMisses = [];
    this.highest = this.spotter.posterior;
    for await (const posteriors of this.stream.process(samples)) {
      detections.push(...this.spotter.decide(posteriors));
      this.nearMisses.push(...this.spotter.nearMisses);
      this.highest = this.highest.map((value, i) => Math.max(value, this.spotter.highest[i]));
    }
    this.milliseconds += performance.now() - started;
    return detections;
  }

  /** The sound has ended: process the tail. */
  async finish() {
    const detections = await this.process(this.stream.ending());
    this.spotter.finish();
    this.nearMisses.push(...this.spotter.nearMisses);
    return detections;
  }
}
