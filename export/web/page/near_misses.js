// Find near misses in smoothed posteriors: words that came close to their thresholds and were not detected,
// as speechrnn/near_misses.py does.

const NEAR = 0.7; // share of its threshold from which a word is close
const GONE = 0.5; // share of it below which the word is over

export class NearMisses {
  /** @param words - how many */
  constructor(words) {
    this.peaks = new Array(words).fill(0); // of words that are close; 0 for the others
    this.blocks = new Array(words).fill(0); // where the peaks were
    this.spent = new Array(words).fill(false); // high at a detection, and not over yet
  }

  /** A word was detected in the block with these smoothed posteriors. */
  detected(smoothed, thresholds) {
    this.peaks.fill(0);
    this.spent = smoothed.map((value, i) => value >= GONE * thresholds[i]);
  }

  /** The next block without a detection, and which words could have been detected -> list of {word, block, peak}. */
  follow(smoothed, thresholds, able, block) {
    smoothed.forEach((value, i) => {
      if (!able[i] || this.spent[i] || value < NEAR * thresholds[i] || value <= this.peaks[i]) return;
      this.peaks[i] = value;
      this.blocks[i] = block;
    });
    return this.#end((i) => smoothed[i] < GONE * thresholds[i]);
  }

  /** The sound has ended: near misses that were not over yet. */
  finish() {
    return this.#end(() => true);
  }

  #end(isOver) {
    const missed = [];
    this.peaks.forEach((peak, word) => {
      if (!isOver(word)) return;
      if (peak > 0) missed.push({ word, block: this.blocks[word], peak });
      this.peaks[word] = 0;
      this.spent[word] = false;
    });
    return missed;
  }
}
