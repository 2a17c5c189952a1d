// The page: its buttons and its sounds on one side, the recognizer and the sound being processed on the other.

import { Hearing } from "./hearing.js";
import { LogMel } from "./log_mel.js";
import { Microphone, MicrophoneError } from "./microphone.js";
import { Recognizer } from "./recognizer.js";
import { Resampler } from "./resampler.js";
import { decode, SoundError } from "./sound_file.js";
import { Spectrogram } from "./spectrogram.js";
import { clock, DetectionList, LevelMeter, NearMissList, WordBars } from "./view.js";

const LIVE_SECONDS = 6; // of the spectrogram
const MOST_SECONDS = 30; // of it for a file
const MOST_WAITING = 5; // seconds of sound that may wait for a slow machine
const TOO_SLOW = "This machine is too slow: sound was dropped. Close other programs or pages.";

const $ = (id) => document.getElementById(id);
const detections = new DetectionList($("detections"), $("empty"));
const nearMisses = new NearMissList($("near-misses"), $("close"));
const level = new LevelMeter($("level"));
let threshold = Number(new URLSearchParams(location.search).get("threshold")) || undefined;
let recognizer, bars, spectrogram, logMel; // once the model is loaded
let hearing; // of the sound that is processed now, or was last
let microphone; // while it is listened to

function setState(state, status) { // loading, ready, opening, listening, spotting, failed
  document.body.dataset.state = state;
  $("listen").textContent = state === "listening" ? "Stop" : "Listen";
  $("listen").disabled = !["ready", "listening"].includes(state);
  $("file").disabled = state !== "ready" && state !== "listening";
  if (status !== undefined) $("status").textContent = status;
}

function setTrouble(message) {
  $("trouble").textContent = message;
  $("trouble").hidden = !message;
}

async function load() {
  recognizer = await Recognizer.load("./model.onnx");
  const { card } = recognizer;
  bars = new WordBars($("words"), card.words);
  logMel = new LogMel(card.front_end, card.sample_rate);
  spectrogram = new Spectrogram($("spectrogram"), card.front_end.n_mels, card.sample_rate / card.front_end.hop_length);
  $("threshold").disabled = false;
  $("model").textContent = `Model ${card.name}, ${card.words.length} words`;
  startHearing(LIVE_SECONDS);
  showThreshold();
  setState("ready", `Ready for ${card.words.join(", ")}.`);
  requestAnimationFrame(draw);
}

/** A new stream and a clean picture for a new sound. */
function startHearing(seconds) {
  hearing = new Hearing(recognizer, threshold);
  logMel.reset();
  level.reset();
  bars.reset();
  spectrogram.reset(seconds);
  setTrouble("");
}

/** Samples at the model's rate: processed and drawn, with the words detected in them. */
async function process(samples) {
  const { sample_rate: rate, block_length: block } = recognizer.card;
  level.add(samples, rate);
  spectrogram.add(logMel.process(samples));
  show(await hearing.process(samples));
  const blocks = (hearing.spotter.seconds * rate) / block;
  const speed = `${(hearing.milliseconds / blocks).toFixed(2)} ms for ${(1000 * block) / rate} ms of sound`;
  if (blocks) $("speed").textContent = speed;
}

function show(found) {
  detections.update();
  bars.add(hearing.highest, hearing.spotter.seconds);
  for (const missed of hearing.nearMisses) nearMisses.add(missed);
  for (const detection of found) {
    detections.add(detection);
    bars.light(detection.label);
    spectrogram.mark(detection.label, detection.time);
  }
}

function clear() {
  detections.clear();
  nearMisses.clear();
}

function draw() {
  bars.show(hearing.spotter.posterior, hearing.spotter.upper);
  level.show();
  spectrogram.draw();
  requestAnimationFrame(draw);
}

// the microphone

async function listen() {
  setState("opening", "Asking for the microphone…");
  startHearing(LIVE_SECONDS);
  const rate = recognizer.card.sample_rate;
  let last = Promise.resolve(), waiting = 0; // samples
  const onSamples = (samples) => {
    if (waiting > MOST_WAITING * rate) return setTrouble(TOO_SLOW);
    waiting += samples.length;
    last = last.then(() => process(samples)).finally(() => { waiting -= samples.length; });
  };
  const opened = new Microphone(rate, onSamples, setTrouble, (message) => stop().then(() => setTrouble(message)));
  try {
    await opened.open();
  } catch (error) {
    setState("ready", "");
    if (!(error instanceof MicrophoneError)) throw error;
    return setTrouble(error.message);
  }
  microphone = opened;
  clear();
  setState("listening", `Listening to ${opened.name}, ${opened.context.sampleRate / 1000} kHz.`);
}

async function stop() {
  const closing = microphone;
  microphone = undefined;
  await closing?.close();
  setTrouble("");
  level.reset();
  setState("ready", `Stopped after ${clock(hearing.spotter.seconds)}.`);
}

// a file

async function spot(file) {
  if (microphone) await stop();
  setState("spotting", `Reading ${file.name}…`);
  setTrouble("");
  let sound;
  try {
    sound = await decode(file);
  } catch (error) {
    setState("ready", "");
    if (!(error instanceof SoundError)) throw error;
    return setTrouble(error.message);
  }
  const { samples, rate } = sound, seconds = samples.length / rate;
  const resampler = new Resampler(rate, recognizer.card.sample_rate);
  startHearing(Math.min(Math.max(seconds, LIVE_SECONDS), MOST_SECONDS));
  clear();
  for (let start = 0; start < samples.length; start += rate) {
    await process(resampler.process(samples.subarray(start, start + rate)));
    $("status").textContent = `${file.name}: ${Math.round((100 * start) / samples.length)} %`;
    await new Promise((resolve) => setTimeout(resolve)); // the page may draw, and answer
  }
  await process(resampler.finish());
  show(await hearing.finish());
  level.reset();
  const count = $("detections").children.length;
  setState("ready", `${file.name}: ${count} ${count === 1 ? "word" : "words"} in ${clock(seconds)}.`);
}

function spotFirst(files) {
  const idle = !$("file").disabled;
  if (files.length && idle) spot(files[0]).catch(fail);
}

// what the person does

function showThreshold() {
  const own = new Set(Object.values(recognizer.card.thresholds)), value = threshold ?? Math.max(...own);
  hearing.spotter.setThreshold(threshold);
  $("threshold").value = value;
  $("threshold-value").textContent = threshold === undefined && own.size > 1 ? "one for each word" : value.toFixed(2);
  $("own-threshold").hidden = threshold === undefined;
}

function fail(error) {
  setState("failed", "");
  setTrouble(error.message);
  console.error(error);
}

$("listen").addEventListener("click", () => (microphone ? stop() : listen()).catch(fail));
$("file").addEventListener("change", ({ target }) => {
  spotFirst(target.files);
  target.value = ""; // the same file can be chosen again
});
$("clear").addEventListener("click", clear);
$("threshold").addEventListener("input", ({ target }) => { threshold = Number(target.value); showThreshold(); });
$("own-threshold").addEventListener("click", () => { threshold = undefined; showThreshold(); });
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault(); // says that a file can be dropped here
    event.dataTransfer.dropEffect = "copy";
    document.body.classList.add("dragging");
  });
}
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dragging"); // left the window
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  spotFirst(event.dataTransfer.files);
});

load().catch((error) => fail(new Error(`The model can't be used. ${error.message}`, { cause: error })));
if ("serviceWorker" in navigator) { // without it, only offline use is lost
  navigator.serviceWorker.register("./service_worker.js", { updateViaCache: "none" }).catch(() => {});
  navigator.serviceWorker.ready.then(() => { $("offline").textContent = "Works offline from now on"; });
}
