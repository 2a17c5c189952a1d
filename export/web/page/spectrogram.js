// Draw log-mel frames as a picture that scrolls from right to left, with the words where they were detected.

const QUIET_DB = -42, LOUD_DB = 26; // what the two ends of the colours stand for
const STOPS = { // from quiet to loud
  dark: [[13, 18, 32], [38, 32, 92], [112, 40, 130], [200, 62, 110], [248, 138, 76], [254, 226, 160]],
  light: [[244, 247, 251], [203, 225, 240], [126, 184, 218], [52, 124, 186], [34, 66, 138], [24, 22, 66]],
};
const FONT = "600 13px system-ui, sans-serif";
const TAG_HEIGHT = 22, TAG_PADDING = 8; // CSS pixels

export class Spectrogram {
  /**
   * @param canvas - its size on the page may change at any time
   * @param bands - values of a frame
   * @param framesPerSecond - of sound
   */
  constructor(canvas, bands, framesPerSecond) {
    Object.assign(this, { canvas, bands, framesPerSecond });
    this.strip = new OffscreenCanvas(1, bands); // a pixel for each value; written round and round
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const choose = () => {
      this.scheme = scheme.matches ? "dark" : "light";
      this.colours = colours(STOPS[this.scheme]);
    };
    scheme.addEventListener("change", () => { choose(); this.reset(); });
    choose();
    this.reset(6);
  }

  /** Start afresh, with room for so many seconds. */
  reset(seconds = this.seconds) {
    this.seconds = seconds;
    this.strip.width = Math.max(1, Math.ceil(seconds * this.framesPerSecond));
    this.pen = this.strip.getContext("2d");
    this.pen.fillStyle = `rgb(${this.colours[0]})`;
    this.pen.fillRect(0, 0, this.strip.width, this.bands);
    this.frames = 0;
    this.words = [];
    this.changed = true;
  }

  /** The next frames, each [bands] in dB, lowest band first. */
  add(frames) {
    for (const frame of frames) {
      const column = new ImageData(1, this.bands);
      frame.forEach((decibel, band) => {
        const share = (decibel - QUIET_DB) / (LOUD_DB - QUIET_DB);
        const colour = this.colours[Math.round(255 * Math.min(1, Math.max(0, share)))];
        column.data.set([...colour, 255], 4 * (this.bands - 1 - band));
      });
      this.pen.putImageData(column, this.frames % this.strip.width, 0);
      this.frames += 1;
    }
    this.changed ||= frames.length > 0;
  }

  /** A word was detected at this time [seconds of sound since `reset`]. */
  mark(word, time) {
    this.words.push({ word, frame: time * this.framesPerSecond });
    const oldest = this.frames - 2 * this.strip.width;
    this.words = this.words.filter(({ frame }) => frame > oldest);
    this.changed = true;
  }

  /** Bring the canvas up to date. */
  draw() {
    const ratio = devicePixelRatio, width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!this.changed && this.width === width && this.height === height) return;
    if (this.width !== width || this.height !== height || this.ratio !== ratio) {
      Object.assign(this, { width, height, ratio });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const columns = this.strip.width, scale = width / columns;
    const oldest = this.frames < columns ? 0 : this.frames % columns; // column at the left edge
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.strip, oldest, 0, columns - oldest, this.bands, 0, 0, (columns - oldest) * scale, height);
    if (oldest) {
      pen.drawImage(this.strip, 0, 0, oldest, this.bands, (columns - oldest) * scale, 0, oldest * scale, height);
    }
    const first = Math.max(0, this.frames - columns); // frame at the left edge
    for (const { word, frame } of this.words) this.#drawWord(pen, word, (frame - first) * scale);
    this.changed = false;
  }

  #drawWord(pen, word, x) {
    pen.font = FONT;
    const length = pen.measureText(word).width + 2 * TAG_PADDING;
    const left = Math.min(x - length / 2, this.width - length - 2); // a word at the edge stays readable
    if (x < -length) return;
    const dark = this.scheme === "dark";
    pen.fillStyle = dark ? "rgb(255 255 255 / 55%)" : "rgb(10 20 40 / 55%)";
    pen.fillRect(x - 0.5, TAG_HEIGHT + 4, 1, this.height);
    pen.fillStyle = dark ? "#f4f7fb" : "#101a30";
    pen.beginPath();
    pen.roundRect(left, 6, length, TAG_HEIGHT, TAG_HEIGHT / 2);
    pen.fill();
    pen.fillStyle = dark ? "#101a30" : "#f4f7fb";
    pen.textBaseline = "middle";
    pen.fillText(word, left + TAG_PADDING, 6 + TAG_HEIGHT / 2 + 0.5);
  }
}

/** 256 colours between the stops. */
function colours(stops) {
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (stops.length - 1), before = Math.min(Math.floor(place), stops.length - 2);
    return stops[before].map((value, c) => Math.round(value + (stops[before + 1][c] - value) * (place - before)));
  });
}
