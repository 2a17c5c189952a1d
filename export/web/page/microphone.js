// Read a microphone of any sample rate, as pieces of float32 mono at 16 kHz.
//
// The context runs at the machine's own rate and `Resampler` does the rest: not every browser lets a context run at
// 16 kHz beside a microphone of another rate, and those that do resample with a filter that swallows part of the band.

import { Resampler } from "./resampler.js";

const STALLED_SECONDS = 3; // without a piece, something is wrong
const SILENT_SECONDS = 2; // of exact zeros at the start: no microphone that works gives that
const MUTED_SECONDS = 10; // of exact zeros later on: some microphones gate out pauses
const WISHES = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/** No microphone, or one that can't be used; the message says what to do. */
export class MicrophoneError extends Error {}

const REASONS = {
  NotAllowedError: "The microphone was denied. Allow it for this page, in the address bar or in the settings of the "
    + "browser and of the system, and press the button again.",
  NotFoundError: "No microphone was found. Plug one in and press the button again.",
  NotReadableError: "The microphone can't be opened. Close the program that uses it and press the button again.",
};
REASONS.SecurityError = REASONS.NotAllowedError;
REASONS.OverconstrainedError = REASONS.NotFoundError;
REASONS.AbortError = REASONS.NotReadableError;

export const SILENT = "The microphone gives nothing but exact zeros: it is muted, or the system keeps it from the "
  + "browser.";
export const STALLED = "The microphone gives no sound. See to its plug, or press the button twice to open it again.";
export const GONE = "The microphone is gone. Plug it in and press the button again.";

export class Microphone {
  /**
   * @param onSamples - called with the next samples at 16 kHz (Float32Array)
   * @param onTrouble - called with a message when the sound stops being of use, and with "" when it is back
   * @param onEnd - called with a message when the microphone is gone; `close` is still to be called
   */
  constructor(sampleRate, onSamples, onTrouble, onEnd) {
    Object.assign(this, { sampleRate, onSamples, onTrouble, onEnd });
    this.trouble = "";
  }

  /** Ask for the microphone and start. Throws a MicrophoneError. */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new MicrophoneError("Browsers give the microphone to pages from https:// or http://localhost only.");
    }
    try {
      this.media = await navigator.mediaDevices.getUserMedia({ audio: WISHES });
      this.context = new AudioContext({ latencyHint: "interactive" });
      await this.context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
      await this.context.resume();
    } catch (error) {
      await this.close();
      throw new MicrophoneError(REASONS[error.name] ?? `The microphone can't be opened (${error.message}).`);
    }
    this.resampler = new Resampler(this.context.sampleRate, this.sampleRate);
    this.zeros = 0; // seconds since a sample was anything else
    this.sounded = false; // any such sample at all
    const capture = new AudioWorkletNode(this.context, "capture");
    capture.port.onmessage = ({ data }) => this.#receive(data);
    this.context.createMediaStreamSource(this.media).connect(capture);
    capture.connect(this.context.destination); // silent; some browsers run only what is connected
    [this.track] = this.media.getAudioTracks();
    this.track.onended = () => this.onEnd(GONE); // not fired by close()
    this.#watch();
  }

  /** The name of the device. */
  get name() {
    return this.track.label || "microphone";
  }

  async close() {
    clearTimeout(this.watchdog);
    const { media, context } = this;
    this.media = this.context = undefined; // nothing is closed twice, and what is under way is dropped
    for (const track of media?.getTracks() ?? []) track.stop();
    await context?.close();
  }

  #receive(samples) {
    if (!this.media) return; // a piece that was under way
    this.#watch();
    const sounds = samples.some((sample) => sample !== 0);
    this.sounded ||= sounds;
    this.zeros = sounds ? 0 : this.zeros + samples.length / this.context.sampleRate;
    this.#report(this.zeros >= (this.sounded ? MUTED_SECONDS : SILENT_SECONDS) ? SILENT : "");
    this.onSamples(this.resampler.process(samples));
  }

  #watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.#report(STALLED), 1000 * STALLED_SECONDS);
  }

  #report(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.onTrouble(trouble);
  }
}
