// Read the model card of an ONNX file: labels, words, sizes, and the settings of the decision.
//
// An ONNX file is one protobuf message. Its wire format (https://protobuf.dev/programming-guides/encoding) needs no
// schema to be walked: each field is a key (number and wire type) and a value whose length the wire type tells. The
// card is JSON in ModelProto.metadata_props, a list of pairs of strings (onnx.proto).

const METADATA_PROPS = 14, KEY = 1, VALUE = 2;
const VARINT = 0, EIGHT_BYTES = 1, BYTES = 2, FOUR_BYTES = 5;
const METADATA_KEY = "speechrnn";
const FORMAT_VERSION = 1;
const SAMPLE_RATE = 16_000; // Hz
const NEEDED = [
  "name", "labels", "words", "sample_rate", "block_length", "state_size", "front_end", "tail_seconds",
  "smoothing_seconds", "thresholds", "hysteresis", "refractory_seconds",
];

const LIMITS = { // as in speechrnn/card.py
  block_length: [32, 2 ** 14], state_size: [1, 2 ** 23], tail_seconds: [0, 10], smoothing_seconds: [0, 10],
  hysteresis: [0, 1], refractory_seconds: [0, 3600],
};
const MOST_LABELS = 1000, LONGEST_LABEL = 100;
// Ends of lines, escape sequences, controls of the writing direction, halves of surrogate pairs.
const CONTROL = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff]|\p{Surrogate}/u;

/** A file that can't be used as a model; the message says what to do. */
export class ModelError extends Error {}

/** The value stored under a key in the metadata of an ONNX file (Uint8Array), or undefined. */
export function metadata(bytes, key) {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const [number, pair] of fields(bytes)) {
    if (number !== METADATA_PROPS || !(pair instanceof Uint8Array)) continue;
    const parts = new Map(fields(pair));
    if (decoder.decode(parts.get(KEY)) === key) return decoder.decode(parts.get(VALUE));
  }
  return undefined;
}

/** The fields of a protobuf message: [number, Uint8Array for what has a length, otherwise undefined]. */
function* fields(bytes) {
  let position = 0;

  function varint() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) { // no shifts: they would cut at 32 bits
      if (position >= bytes.length || scale > 2 ** 63) throw new ModelError("It is cut off, or no ONNX file.");
      const byte = bytes[position++];
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
  }

  while (position < bytes.length) {
    const key = varint(), number = Math.floor(key / 8), type = key % 8;
    let length;
    if (type === VARINT) varint();
    else if (type === EIGHT_BYTES) length = 8;
    else if (type === FOUR_BYTES) length = 4;
    else if (type === BYTES) length = varint();
    else throw new ModelError("It is no ONNX file.");
    if (length === undefined) continue;
    if (position + length > bytes.length) throw new ModelError("It is cut off, or no ONNX file.");
    yield [number, type === BYTES ? bytes.subarray(position, position + length) : undefined];
    position += length;
  }
}

/** The checked card of an ONNX file (ArrayBuffer or Uint8Array). Throws a ModelError that says what is wrong. */
export function readCard(file) {
  let text;
  try {
    text = metadata(new Uint8Array(file), METADATA_KEY);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError("Its model card is not UTF-8: export the model again.");
  }
  if (text === undefined) throw new ModelError("It carries no model card: make it with python -m export.to_onnx.");
  let card;
  try {
    card = JSON.parse(text);
  } catch {
    throw new ModelError("Its model card is not valid JSON: export the model again.");
  }
  if (card?.format_version !== FORMAT_VERSION) {
    throw new ModelError(`Its model card has format ${card?.format_version}, this page reads ${FORMAT_VERSION}.`);
  }
  const missing = NEEDED.filter((name) => !(name in card));
  if (missing.length) throw new ModelError(`Its model card lacks ${missing.join(", ")}: export the model again.`);
  const tables = [card.front_end, card.network, card.thresholds, card.figures ?? {}];
  const consistent = tables.every((table) => table !== null && typeof table === "object" && !Array.isArray(table))
    && Array.isArray(card.labels) && card.labels.length <= MOST_LABELS && card.labels.every(isName)
    && Array.isArray(card.words) && new Set(card.words).size === card.words.length
    && card.words.every((word) => card.labels.includes(word) && isWithin(card.thresholds[word], [Number.MIN_VALUE, 1]))
    && card.sample_rate === SAMPLE_RATE
    && Object.entries(LIMITS).every(([name, limits]) => isWithin(card[name], limits))
    && Number.isInteger(card.block_length) && Number.isInteger(card.state_size);
  if (!consistent) throw new ModelError("Its model card contradicts itself: export the model again.");
  return card;
}

/** The whole number of blocks that is closest to a time; of two as close, the even one, as Python rounds. */
export function wholeBlocks(card, seconds) {
  const blocks = (seconds * card.sample_rate) / card.block_length, floor = Math.floor(blocks), rest = blocks - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** How many zeros end a sound: they fill the last block, `rest` samples of which are there, and the tail after it. */
export function endingLength(card, rest) {
  return ((card.block_length - (rest % card.block_length)) % card.block_length)
    + wholeBlocks(card, card.tail_seconds) * card.block_length;
}

function isName(label) {
  return typeof label === "string" && label.trim() === label && label !== "" && label.length <= LONGEST_LABEL
    && !CONTROL.test(label);
}

function isWithin(value, [least, most]) {
  return typeof value === "number" && value >= least && value <= most;
}
