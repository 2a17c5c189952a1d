// What the page shows beside the spectrogram: a bar for each word, the level, the detections, the near misses.

const FLOOR_DBFS = -72; // the left end of the level meter
const PEAK_FALL = 20; // dB a second
const LIT_MILLISECONDS = 900; // how long a word stays lit once it was detected
const MOST_ITEMS = 500; // detections that are kept
const MOST_NEAR_MISSES = 3; // that are shown
const HOLD_SECONDS = 3; // of sound; how long a peak is shown

/** A bar with the smoothed posterior of each word, a mark at its threshold, and one at its peak of late. */
export class WordBars {
  constructor(parent, words) {
    this.bars = words.map((word) => {
      const bar = element("div", { className: "word" });
      const name = element("span", { className: "name", textContent: word, id: `word-${word}` });
      const track = element("div", { className: "track" }), fill = element("div", { className: "fill" });
      const mark = element("div", { className: "mark" }), peak = element("div", { className: "peak" });
      const value = element("span", { className: "value" });
      track.setAttribute("role", "meter");
      track.setAttribute("aria-labelledby", name.id);
      track.setAttribute("aria-valuemin", 0);
      track.setAttribute("aria-valuemax", 100);
      track.append(fill, peak, mark);
      bar.append(name, track, value);
      return { word, bar, track, fill, mark, peak, value };
    });
    this.reset();
    parent.replaceChildren(...this.bars.map(({ bar }) => bar));
  }

  reset() {
    this.peaks = this.bars.map(() => ({ value: 0, seconds: 0 })); // and when it was, in the sound
  }

  /** The highest posterior of each word in the next sound, which ends at `seconds`. */
  add(highest, seconds) {
    this.peaks = this.peaks.map((peak, i) => {
      const old = seconds - peak.seconds > HOLD_SECONDS;
      return highest[i] >= peak.value || old ? { value: highest[i], seconds } : peak;
    });
  }

  /** Posteriors and thresholds, one for each word. */
  show(posterior, thresholds) {
    this.bars.forEach(({ track, fill, mark, peak, value }, i) => {
      fill.style.transform = `scaleX(${posterior[i].toFixed(3)})`;
      mark.style.left = `${100 * thresholds[i]}%`;
      peak.style.left = `${100 * this.peaks[i].value}%`;
      track.title = `peak ${this.peaks[i].value.toFixed(3)}, needs ${thresholds[i].toFixed(3)}`;
      value.textContent = percent(posterior[i]);
      track.setAttribute("aria-valuenow", Math.round(100 * posterior[i]));
    });
  }

  light(word) {
    const { bar } = this.bars.find((candidate) => candidate.word === word);
    bar.classList.remove("lit");
    void bar.offsetWidth; // lets the animation start again
    bar.classList.add("lit");
    setTimeout(() => bar.classList.remove("lit"), LIT_MILLISECONDS);
  }
}

/** How loud the sound is: the mean as a bar, the peak as a mark that falls slowly. */
export class LevelMeter {
  constructor(meter) {
    this.meter = meter;
    [this.fill, this.mark] = meter.children;
    this.value = meter.nextElementSibling;
    this.reset();
  }

  reset() {
    this.mean = this.peak = FLOOR_DBFS;
    this.show();
  }

  /** The next samples (Float32Array) at this rate. */
  add(samples, rate) {
    if (!samples.length) return;
    let power = 0, peak = 0;
    for (const sample of samples) {
      power += sample * sample;
      peak = Math.max(peak, Math.abs(sample));
    }
    const fallen = this.peak - (PEAK_FALL * samples.length) / rate;
    this.mean = decibels(Math.sqrt(power / samples.length));
    this.peak = Math.max(fallen, decibels(peak));
  }

  show() {
    const share = (level) => Math.min(1, Math.max(0, 1 - level / FLOOR_DBFS));
    this.fill.style.clipPath = `inset(0 ${100 * (1 - share(this.mean))}% 0 0)`;
    this.mark.style.left = `${100 * share(this.peak)}%`;
    this.meter.setAttribute("aria-valuenow", Math.round(this.mean));
    this.value.textContent = this.mean > FLOOR_DBFS ? `${Math.round(this.mean)} dB`.replace("-", "−") : "–";
  }
}

/** The words detected so far, the latest on top; read out by screen readers as they come. */
export class DetectionList {
  constructor(list, empty) {
    Object.assign(this, { list, empty });
    this.clear();
  }

  add(detection) {
    const { label, time, probability } = detection, item = element("li");
    const peak = element("span", { className: "peak", title: `${percent(probability)} when it was detected` });
    Object.assign(item.dataset, { label, time, probability });
    item.append(
      element("span", { className: "label", textContent: label }),
      element("span", { className: "time", textContent: clock(time) }),
      peak,
    );
    this.list.prepend(item);
    this.last = { detection, item, peak };
    this.update();
    while (this.list.children.length > MOST_ITEMS) this.list.lastElementChild.remove();
    this.empty.hidden = true;
  }

  /** The peak of the last detection may have risen. */
  update() {
    if (!this.last) return;
    const { detection, item, peak } = this.last;
    item.dataset.peak = detection.peak;
    peak.textContent = percent(detection.peak);
  }

  clear() {
    this.last = undefined;
    this.list.replaceChildren();
    this.empty.hidden = false;
  }
}

/** Words that came close to their thresholds and were not detected, the latest on top. */
export class NearMissList {
  constructor(list, section) {
    Object.assign(this, { list, section });
  }

  add({ label, time, peak, threshold }) {
    const item = element("li", { textContent: `${label} ${peak.toFixed(3)}, needs ${threshold.toFixed(3)}` });
    Object.assign(item.dataset, { label, time, peak, threshold });
    item.append(element("span", { className: "time", textContent: clock(time) }));
    this.list.prepend(item);
    while (this.list.children.length > MOST_NEAR_MISSES) this.list.lastElementChild.remove();
    this.section.hidden = false;
  }

  clear() {
    this.list.replaceChildren();
    this.section.hidden = true;
  }
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** Seconds as 1:23.45. */
export function clock(seconds) {
  const hundredths = Math.round(100 * seconds);
  return `${Math.floor(hundredths / 6000)}:${((hundredths % 6000) / 100).toFixed(2).padStart(5, "0")}`;
}

function decibels(amplitude) {
  return Math.max(FLOOR_DBFS, 20 * Math.log10(Math.max(amplitude, 1e-9)));
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
