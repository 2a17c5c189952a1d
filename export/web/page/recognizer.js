// An ONNX file, its card, and inference from sound at 16 kHz to posteriors. onnxruntime-web runs the graph, as WASM.

import * as runtime from "./runtime/ort.wasm.min.mjs";
import { ModelError, endingLength, readCard } from "./card.js";

const PIECE_BLOCKS = 50; // long sound runs through the graph in pieces of this, so that the page can draw between them

runtime.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
runtime.env.wasm.numThreads = 1; // more gain nothing on a net of this size, and would need special HTTP headers
runtime.env.logLevel = "error";

export class Recognizer {
  /** Fetch a model and make it ready. Throws a ModelError. */
  static async load(address) {
    const response = await fetch(address).catch(() => undefined);
    if (!response?.ok) throw new ModelError("It can't be fetched: is the folder complete, and the server running?");
    const bytes = new Uint8Array(await response.arrayBuffer());
    const card = readCard(bytes);
    let session;
    try {
      session = await runtime.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new ModelError(`This browser can't run it (${error.message}): take a newer one.`);
    }
    const state = shape(session.inputMetadata, "state"), probabilities = shape(session.outputMetadata, "probabilities");
    if (state?.at(-1) !== card.state_size || probabilities?.at(-1) !== card.labels.length) {
      throw new ModelError("Its graph doesn't fit its model card: export it again.");
    }
    return new Recognizer(card, session);
  }

  constructor(card, session) {
    this.card = card;
    this.session = session;
  }

  /** A stream for a new sound. */
  stream() {
    return new Stream(this.card, this.session);
  }
}

function shape(metadata, name) {
  return metadata.find((value) => value.name === name)?.shape;
}

/** Inference on one sound: the state is carried from block to block. One call of `process` at a time. */
class Stream {
  constructor(card, session) {
    this.card = card;
    this.session = session;
    this.state = new runtime.Tensor("float32", new Float32Array(card.state_size), [1, card.state_size]);
    this.rest = new Float32Array(0); // less than a block
  }

  /** The next samples (Float32Array, any number) -> pieces of posteriors, each Float32Array [blocks * labels]. */
  async *process(samples) {
    const sound = new Float32Array(this.rest.length + samples.length), block = this.card.block_length;
    sound.set(this.rest);
    sound.set(samples, this.rest.length);
    const whole = sound.length - (sound.length % block);
    this.rest = sound.slice(whole);
    for (let start = 0; start < whole; start += PIECE_BLOCKS * block) {
      yield await this.#run(sound.slice(start, Math.min(start + PIECE_BLOCKS * block, whole)));
    }
  }

  /** What ends a sound: zeros that fill the last block, and the model's tail of digital silence after it. */
  ending() {
    return new Float32Array(endingLength(this.card, this.rest.length));
  }

  async #run(samples) {
    const audio = new runtime.Tensor("float32", samples, [1, samples.length]);
    const outputs = await this.session.run({ audio, state: this.state });
    this.state = outputs.next_state;
    return outputs.probabilities.data;
  }
}
