// Runs beside the page, in the thread of the sound card: averages channels, collects a piece, hands it over. Only that.

const PIECE_SECONDS = 0.02;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.length = Math.round(PIECE_SECONDS * sampleRate); // the global of an AudioWorklet
    this.#start();
  }

  #start() {
    this.piece = new Float32Array(this.length);
    this.filled = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0; // no channel: the microphone is about to start, or gone
    for (let i = 0; i < length; i++) {
      for (const channel of channels) this.piece[this.filled] += channel[i] / channels.length;
      this.filled += 1;
      if (this.filled === this.length) {
        this.port.postMessage(this.piece, [this.piece.buffer]);
        this.#start();
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
