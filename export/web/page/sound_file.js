// Decode a sound file, of any format that the browser knows, to float32 mono at its own rate.
//
// decodeAudioData resamples to the rate of its context, and browsers do that with filters that swallow the upper part
// of the band. So the context is opened at the file's own rate, read from its header, and `Resampler` does the rest.

const COMMON_RATE = 48_000; // Hz; for files whose header isn't read here
const MPEG_RATES = { // by version
  3: [44_100, 48_000, 32_000],
  2: [22_050, 24_000, 16_000],
  0: [11_025, 12_000, 8_000],
};

/** A file that can't be used; the message says what to do. */
export class SoundError extends Error {}

/** A File -> {samples: Float32Array, rate}. Channels are averaged. Throws a SoundError. */
export async function decode(file) {
  let bytes, buffer;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new SoundError(`${file.name}: can't be read: choose it again.`);
  }
  if (!bytes.byteLength) throw new SoundError(`${file.name}: is empty (0 bytes): record or copy it again.`);
  const rate = sampleRate(bytes) ?? COMMON_RATE;
  try {
    buffer = await context(rate).decodeAudioData(bytes);
  } catch {
    throw new SoundError(`${file.name}: can't be read as sound: convert it to WAV, FLAC or MP3.`);
  }
  if (!buffer.length) throw new SoundError(`${file.name}: holds no sound: record or copy it again.`);
  const samples = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const part = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i++) samples[i] += part[i] / buffer.numberOfChannels;
  }
  return { samples, rate: buffer.sampleRate };
}

function context(rate) {
  try {
    return new OfflineAudioContext(1, 1, rate);
  } catch { // a rate that this browser doesn't take
    return new OfflineAudioContext(1, 1, COMMON_RATE);
  }
}

/** The rate [Hz] that the header of a WAV, FLAC, Ogg or MP3 file (ArrayBuffer) tells; undefined for others. */
export function sampleRate(file) {
  const view = new DataView(file);
  const text = (offset, length) =>
    String.fromCharCode(...new Uint8Array(file, Math.min(offset, file.byteLength)).subarray(0, length));
  let rate;
  try {
    if (text(0, 4) === "RIFF" && text(8, 4) === "WAVE") rate = waveRate(view, text);
    else if (text(0, 4) === "fLaC") rate = view.getUint32(18) >>> 12; // 20 bits of STREAMINFO, which comes first
    else if (text(0, 4) === "OggS") rate = oggRate(view, text);
    else rate = mpegRate(view, text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the header is longer than the file
  }
  return rate || undefined;
}

/** Chunks of a RIFF file follow each other; "fmt " holds the rate. */
function waveRate(view, text) {
  for (let offset = 12; ; offset += 8 + size(offset)) {
    if (text(offset, 4) === "fmt ") return view.getUint32(offset + 12, true);
  }
  function size(offset) {
    const length = view.getUint32(offset + 4, true);
    return length + (length % 2); // chunks start at even places
  }
}

/** The first packet of Vorbis, Opus or FLAC, behind the header of the first page. */
function oggRate(view, text) {
  const packet = 27 + view.getUint8(26);
  if (text(packet, 7) === "\x01vorbis") return view.getUint32(packet + 12, true);
  if (text(packet, 8) === "OpusHead") return 48_000; // always decoded to that (RFC 7845)
  if (text(packet, 5) === "\x7fFLAC") return view.getUint32(packet + 27) >>> 12;
  return undefined;
}

/** The header of the first MPEG frame, behind an ID3 tag if there is one. */
function mpegRate(view, text) {
  let offset = 0;
  if (text(0, 3) === "ID3") { // its size has seven bits a byte
    offset = 10 + [6, 7, 8, 9].reduce((size, place) => size * 128 + (view.getUint8(place) & 127), 0);
  }
  const header = view.getUint32(offset);
  const synchronised = header >>> 21 === 0x7ff && ((header >>> 17) & 3) !== 0; // layer 0 would be AAC in ADTS frames
  return synchronised ? MPEG_RATES[(header >>> 19) & 3]?.[(header >>> 10) & 3] : undefined;
}
