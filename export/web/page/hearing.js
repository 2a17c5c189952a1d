// Sound at 16 kHz flows in, detections flow out: a stream of the network, and the spotter that decides on its
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
  }

  /** The next samples (Float32Array, any number) -> what is detected in them. One call at a time. */
  async process(samples) {
    const started = performance.now(), detections = [];
    for await (const posteriors of this.stream.process(samples)) detections.push(...this.spotter.decide(posteriors));
    this.milliseconds += performance.now() - started;
    return detections;
  }

  /** The sound has ended: hear it out. */
  finish() {
    return this.process(this.stream.ending());
  }
}
