"""The JavaScript of the page does what the Python does: the decision, the card, resampling, rates, the spectrogram."""

import base64
import io
import json
import subprocess
from dataclasses import asdict

import numpy as np
import onnx
import pytest
import soundfile
import soxr
import torch
from conftest import needs
from test_bad_input import MODELS, with_values
from test_cli import ROOT

import speechrnn
from speechrnn import card
from speechrnn.spotter import Spotter
from speechrnn.training.config import FrontEndConfig
from speechrnn.training.front_end import FrontEnd

PAGE = ROOT / "export" / "web" / "page"
RATE = 16_000


def by_node(module, script, *values):
    """What a script returns that has the exports of a module as `page`, and the values as `given`."""
    program = f"""
import * as page from {json.dumps((PAGE / module).as_uri())};
import {{ readFileSync }} from "node:fs";
const given = JSON.parse(readFileSync(0, "utf8"));
const answer = (() => {{ {script} }})();
process.stdout.write(JSON.stringify(answer));
"""
    command = [needs("node"), "--input-type=module", "-e", program]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# the decision


def random_posteriors(model, seed, blocks=3000):
    """Words that rise and fall, alone and together, over a restless ground."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 1.0, (blocks, len(model.labels)))
    for start in np.cumsum(rng.integers(3, 60, blocks // 20)):
        logits[start : start + rng.integers(2, 30), rng.integers(len(model.labels))] += rng.uniform(2.0, 9.0)
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("seed", "threshold", "changes"),
    [
        (0, None, {}),
        (1, 0.5, {"refractory_seconds": 0.0}),
        (2, 0.6, {"smoothing_seconds": 0.0}),
        (3, 0.3, {"smoothing_seconds": 0.05, "hysteresis": 1.0}),  # two and a half blocks are two, as in Python
        (4, 0.5, {"smoothing_seconds": 0.07, "refractory_seconds": 0.25, "hysteresis": 0.8}),
    ],
)
def test_the_spotter_decides_as_in_python(seed, threshold, changes):
    model = speechrnn.load()
    settings = {**asdict(model.card), **changes}
    rows = random_posteriors(model, seed)
    expected = Spotter(model, threshold=threshold, **changes).decide(rows)
    pieces = np.split(rows, np.sort(np.random.default_rng(seed).integers(0, len(rows), 200)))
    script = """
const [card, threshold, pieces] = given;
const spotter = new page.Spotter(card, threshold ?? undefined);
const found = pieces.flatMap((piece) => spotter.decide(Float32Array.from(piece.flat())));
return { found, seconds: spotter.seconds, posterior: [...spotter.posterior] };
"""
    answer = by_node("spotter.js", script, settings, threshold, [piece.tolist() for piece in pieces])
    assert len(expected) > 20
    assert [(d["label"], d["time"]) for d in answer["found"]] == [(d.label, d.time) for d in expected]
    assert [d["probability"] for d in answer["found"]] == pytest.approx([d.probability for d in expected], abs=1e-12)
    assert answer["seconds"] == pytest.approx(len(rows) * model.card.block_seconds)
    window = model.card.with_decision(smoothing_seconds=changes.get("smoothing_seconds")).smoothing_blocks
    words = [model.labels.index(word) for word in model.card.words]
    assert answer["posterior"] == pytest.approx(rows[-window:, words].mean(axis=0), abs=1e-6)


def test_the_spotter_starts_afresh():
    model = speechrnn.load()
    rows = random_posteriors(model, 5, 400)
    script = """
const [card, rows] = given, spotter = new page.Spotter(card, 0.5), samples = Float32Array.from(rows.flat());
const first = spotter.decide(samples);
spotter.reset();
return [first, spotter.decide(samples)];
"""
    first, second = by_node("spotter.js", script, asdict(model.card), rows.tolist())
    assert first
    assert first == second


# the card

READ = """
return given.map((bytes) => {
  try { return page.readCard(Uint8Array.from(Buffer.from(bytes, "base64"))); }
  catch (error) { if (error instanceof page.ModelError) return error.message; throw error; }
});
"""


def read_cards(*files):
    return by_node("card.js", READ, *(base64.b64encode(file).decode() for file in files))


def test_the_card_is_read_out_of_the_file():
    model = speechrnn.load()
    [read] = read_cards(model.path.read_bytes())
    assert read == json.loads(model.card.to_json())


def test_the_card_is_found_among_other_metadata_and_in_other_scripts():
    proto = onnx.load(speechrnn.load().path)
    values = json.loads(proto.metadata_props[0].value)
    values["training_data"] = ["mots français, слова, 言葉", "x" * 70_000]  # a length of three bytes
    text = json.dumps(values, ensure_ascii=False)
    onnx.helper.set_model_props(proto, {"author": "somebody", "": "", card.METADATA_KEY: text, "last": "one"})
    [read] = read_cards(proto.SerializeToString())
    assert read == values


def test_every_file_that_is_not_ours_is_refused_with_a_reason():
    proto = onnx.load(speechrnn.load().path)
    in_the_graph = {"foreign-with-our-card", "card-with-another-state"}  # what only running it would show
    files = {name: make(proto) for name, make in MODELS.items() if name not in in_the_graph}
    files["other-rate"] = with_values(proto, sample_rate=8000)
    files["threshold-of-nothing"] = with_values(proto, words=["yes", "maybe"])
    reasons = dict(zip(files, read_cards(*files.values()), strict=True))
    assert {name for name, reason in reasons.items() if not isinstance(reason, str)} == {"card-with-too-few-labels"}
    assert "card" in reasons["foreign"]
    assert "card" in reasons["card-missing"]
    assert "99" in reasons["card-of-another-version"]
    assert "labels" in reasons["card-without-labels"]


# resampling

RESAMPLE = """
const [rate, target, samples, sizes] = given, resampler = new page.Resampler(rate, target), output = [];
for (let start = 0, turn = 0; start < samples.length; start += sizes[turn++ % sizes.length]) {
  output.push(...resampler.process(Float32Array.from(samples.slice(start, start + sizes[turn % sizes.length]))));
}
output.push(...resampler.finish());
return output;
"""


def resampled(samples, rate, sizes):
    return np.array(by_node("resampler.js", RESAMPLE, rate, RATE, samples.tolist(), sizes))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_agrees_with_soxr_and_does_not_depend_on_the_pieces(rate):
    sound = 0.1 * np.random.default_rng(rate).standard_normal(rate // 2)
    expected = soxr.resample(sound.astype(np.float32), rate, RATE, quality="HQ")
    whole = resampled(sound, rate, [len(sound)])
    np.testing.assert_array_equal(whole, resampled(sound, rate, [882, 1, 0, 128, 37]))
    assert len(whole) == len(expected)
    spectrum, difference = np.fft.rfft(expected), np.fft.rfft(whole - expected)
    kept = np.fft.rfftfreq(len(whole), 1 / RATE) < 0.9 * min(rate, RATE) / 2  # where both keep everything
    error = np.sum(np.abs(difference[kept]) ** 2) / np.sum(np.abs(spectrum[kept]) ** 2)
    assert 10 * np.log10(error) < -50  # that much, because the ends of the noise leak into all frequencies


def test_a_tone_above_the_new_band_is_gone_and_one_inside_is_kept():
    time = np.arange(24_000) / 48_000
    inside, above = (resampled(0.5 * np.sin(2 * np.pi * f * time), 48_000, [960]) for f in (7_000, 8_100))
    middle = slice(1000, -1000)
    expected = 0.5 * np.sin(2 * np.pi * 7_000 * np.arange(8_000) / RATE)
    assert np.abs(inside - expected)[middle].max() < 1e-4
    assert np.abs(above)[middle].max() < 1e-5


def test_sound_at_the_right_rate_is_left_alone():
    sound = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(resampled(sound, RATE, [128]), sound)


# rates of files

RATES = """
return given.map((bytes) => page.sampleRate(Uint8Array.from(Buffer.from(bytes, "base64")).buffer) ?? null);
"""


def encoded(rate, format, subtype):
    file = io.BytesIO()
    soundfile.write(
        file, 0.1 * np.random.default_rng(0).standard_normal((rate, 2)), rate, format=format, subtype=subtype
    )
    return file.getvalue()


def read_rates(*files):
    return by_node("sound_file.js", RATES, *(base64.b64encode(file).decode() for file in files))


def test_the_rate_is_read_from_the_header():
    kinds = [
        (8_000, "WAV", "PCM_16"), (44_100, "WAV", "FLOAT"), (48_000, "WAVEX", "PCM_24"), (16_000, "FLAC", "PCM_16"),
        (96_000, "FLAC", "PCM_24"), (22_050, "OGG", "VORBIS"), (48_000, "OGG", "OPUS"),
        (44_100, "MP3", "MPEG_LAYER_III"), (16_000, "MP3", "MPEG_LAYER_III"), (8_000, "MP3", "MPEG_LAYER_III"),
    ]  # fmt: skip
    files = [encoded(*kind) for kind in kinds]
    assert read_rates(*files) == [rate for rate, _, _ in kinds]
    tagged = b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + encoded(32_000, "MP3", "MPEG_LAYER_III")
    chunk = b"LIST\x05\0\0\0abcde\0"
    wave = encoded(44_100, "WAV", "PCM_16")
    assert read_rates(tagged, wave[:12] + chunk + wave[12:]) == [32_000, 44_100]


def test_a_header_that_tells_nothing_does_no_harm():
    wave = encoded(44_100, "WAV", "PCM_16")
    assert read_rates(b"", b"RIFF", b"a text, no sound", wave[:20], b"OggS" + bytes(30), bytes(100)) == [None] * 6


# the spectrogram


def test_the_frames_are_those_of_the_front_end():
    config = FrontEndConfig(**speechrnn.load().card.front_end)
    rng = np.random.default_rng(0)
    sound = (0.2 * np.sin(np.arange(8_000) ** 2 / 9_000) + 1e-3 * rng.standard_normal(8_000)).astype(np.float32)
    front_end = FrontEnd(config)
    padded = torch.from_numpy(np.concatenate([np.zeros(front_end.tail_length, np.float32), sound]))
    expected = 10 * torch.log10(front_end.mel_power(padded[None]) + config.log_offset)[0].numpy()
    script = """
const [frontEnd, samples] = given, logMel = new page.LogMel(frontEnd, 16000), frames = [];
for (let i = 0; i < samples.length; i += 333) {
  frames.push(...logMel.process(Float32Array.from(samples.slice(i, i + 333))));
}
return frames.map((frame) => [...frame]);
"""
    frames = np.array(by_node("log_mel.js", script, asdict(config), sound.tolist()))
    assert frames.shape == expected.shape
    np.testing.assert_allclose(frames, expected, atol=0.01)  # dB
