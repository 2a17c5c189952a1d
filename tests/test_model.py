"""The shipped file keeps the contract of the design: one causal graph, exact however the sound is cut."""

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import speechrnn
from speechrnn import model as runtime
from speechrnn.errors import AudioError, ModelError
from speechrnn.model import located

BLOCK = 320
RATE = 16_000
KINDS = ("noise", "tones", "speech", "silence and speech")
# Long enough that hidden states have something to remember, short enough to try many.
lengths = st.integers(1, 120)  # blocks


def noise(samples, seed=0):
    """Its level changes from block to block. A voice is in it: noise alone leaves the model cold."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(-4.0, -0.3, -(-samples // BLOCK))
    hiss = rng.standard_normal(samples) * np.repeat(level, BLOCK)[:samples]
    return (hiss + speech(samples, seed)).astype(np.float32)


def tones(samples, seed=0):
    """Four that glide. A voice is among them: tones alone leave the model cold, too."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    voices = [np.sin(2 * np.pi * (f + 200 * np.sin(3 * time)) * time) for f in rng.uniform(100, 4000, 4)]
    return (0.2 * np.sum(voices, axis=0) + speech(samples, seed)).astype(np.float32)


def speech(samples, seed=0):
    """Syllables of a voice: harmonics of a gliding pitch under three formants, with hiss between them."""
    rng = np.random.default_rng(seed)
    parts, length = [np.zeros(0)], 0
    while length < samples:
        count = int(rng.integers(1200, 4000))
        time = np.arange(count) / RATE
        phase = 2 * np.pi * np.cumsum(np.linspace(*rng.uniform(90, 220, 2), count)) / RATE
        formants = rng.uniform((300, 800, 2200), (900, 2400, 3300))
        voice = np.zeros(count)
        for harmonic in range(1, 30):
            frequency = harmonic * 150
            strength = np.exp(-(((frequency - formants) / 150) ** 2)) @ (1.0, 0.6, 0.3)
            voice += strength * np.sin(harmonic * phase)
        hiss = np.diff(rng.standard_normal(int(rng.integers(1, 1600))), prepend=0.0) * rng.uniform(0, 0.1)
        parts += [0.3 * voice * np.sin(np.pi * time / time[-1]), hiss]
        length += count + len(hiss)
    return np.concatenate(parts)[:samples].astype(np.float32)


def sound(kind, samples, seed=0):
    if kind == "silence and speech":
        return np.concatenate([np.zeros(samples // 2, np.float32), speech(samples - samples // 2, seed)])
    return {"noise": noise, "tones": tones, "speech": speech}[kind](samples, seed)


@pytest.fixture(scope="module")
def model():
    return speechrnn.load()


@pytest.fixture(scope="module")
def proto(model):
    return onnx.load(model.path)


# the file


def test_the_graph_has_the_inputs_and_outputs_of_the_contract(proto, model):
    def described(values):
        return {
            v.name: (v.type.tensor_type.elem_type, [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim])
            for v in values
        }

    size, labels = model.card.state_size, len(model.labels)
    inputs, outputs = described(proto.graph.input), described(proto.graph.output)
    float32 = onnx.TensorProto.FLOAT
    assert inputs == {"audio": (float32, ["batch", "samples"]), "state": (float32, ["batch", size])}
    assert outputs == {
        "probabilities": (float32, ["batch", "blocks", labels]),
        "next_state": (float32, ["batch", size]),
    }


def test_the_graph_needs_nothing_but_standard_operators(proto):
    assert [opset.domain for opset in proto.opset_import] == [""]
    assert proto.opset_import[0].version >= 17
    assert {node.domain for node in proto.graph.node} == {""}
    assert all(onnx.defs.has(node.op_type) for node in proto.graph.node)
    assert len(proto.functions) == 0
    onnx.checker.check_model(proto, full_check=True)


def test_the_model_is_one_small_file(proto, model):
    assert {tensor.data_location for tensor in proto.graph.initializer} == {onnx.TensorProto.DEFAULT}
    assert model.path.stat().st_size < 1_300_000


def test_the_card_names_the_standard_task(model):
    assert model.card.words == ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    assert set(model.labels) - set(model.card.words) == {"_unknown_", "_silence_"}
    assert model.card.block_length == BLOCK
    assert model.card.training_data


# the stream


@pytest.mark.parametrize("kind", KINDS)
def test_the_sounds_of_these_tests_move_the_posteriors(model, kind):
    """Otherwise the comparisons below would be between constants."""
    rows = model.posteriors(sound(kind, 3 * RATE))
    assert np.ptp(rows, axis=0).max() > 0.05


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KINDS), lengths, st.integers(0, 99), st.data())
def test_a_whole_clip_equals_its_blocks_and_any_other_split(model, kind, blocks, seed, data):
    audio = sound(kind, blocks * BLOCK, seed)[None]
    whole = model.stream().process(audio)
    assert whole.shape == (1, blocks, len(model.labels))
    np.testing.assert_allclose(whole.sum(axis=2), 1.0, atol=1e-5)
    cuts = data.draw(st.sets(st.integers(1, blocks), max_size=6))
    for places in (range(1, blocks), sorted(cuts)):
        stream = model.stream()
        rows = [stream.process(piece) for piece in np.split(audio, np.array(places, int) * BLOCK, axis=1) if piece.size]
        np.testing.assert_allclose(np.concatenate(rows, axis=1), whole, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), lengths, st.integers(0, 99))
def test_sounds_side_by_side_do_not_hear_each_other(model, batch, blocks, seed):
    audio = np.stack([sound(KINDS[i % 4], blocks * BLOCK, seed + i) for i in range(batch)])
    together = model.stream(batch).process(audio)
    for row, alone in zip(together, audio, strict=True):
        np.testing.assert_allclose(row, model.stream().process(alone[None])[0], atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 100), st.integers(0, 99), st.data())
def test_a_row_knows_nothing_of_the_sound_after_its_block(model, blocks, seed, data):
    now = data.draw(st.integers(1, blocks - 1))
    audio = sound("speech", blocks * BLOCK, seed)[None]
    other = audio.copy()
    other[:, now * BLOCK :] = noise((blocks - now) * BLOCK, seed)
    rows, others = model.stream().process(audio), model.stream().process(other)
    np.testing.assert_allclose(rows[:, :now], others[:, :now], atol=1e-6)


def test_a_row_knows_the_sound_of_its_own_block(model):
    quiet, loud = np.zeros((1, 5 * BLOCK), np.float32), np.zeros((1, 5 * BLOCK), np.float32)
    loud[:, 4 * BLOCK :] = tones(BLOCK)
    assert np.abs(model.stream().process(quiet)[0, 4] - model.stream().process(loud)[0, 4]).max() > 1e-5


def test_a_reset_stream_is_a_fresh_one(model):
    audio = sound("speech", 60 * BLOCK)[None]
    stream = model.stream()
    fresh = stream.process(audio)
    assert np.abs(stream.process(audio) - fresh).max() > 1e-3  # it remembers
    stream.reset()
    np.testing.assert_array_equal(stream.process(audio), fresh)


def test_two_streams_of_a_model_are_apart(model):
    first, second = sound("speech", 40 * BLOCK, 1)[None], sound("tones", 40 * BLOCK, 2)[None]
    one, other = model.stream(), model.stream()
    for start in range(0, 40 * BLOCK, 4 * BLOCK):
        last = one.process(first[:, start : start + 4 * BLOCK])
        other.process(second[:, start : start + 4 * BLOCK])
    np.testing.assert_allclose(last[0, -1], model.stream().process(first)[0, -1], atol=1e-5)


def test_long_sound_is_the_same_in_pieces_and_at_once(model, monkeypatch):
    audio = sound("silence and speech", 50 * RATE)
    rows = {}
    for blocks in (7, runtime.PIECE_BLOCKS, 10_000):
        monkeypatch.setattr(runtime, "PIECE_BLOCKS", blocks)
        rows[blocks] = model.posteriors(audio)
    assert len(rows[7]) == 50 * 50 + model.card.tail_blocks
    for piecewise in rows.values():
        np.testing.assert_allclose(piecewise, rows[10_000], atol=1e-5)


# the label


@pytest.mark.parametrize("samples", [800, 801, 16_000, 16_319])
def test_a_clip_is_followed_by_silence_up_to_whole_blocks(model, samples):
    clip = sound("speech", samples)
    rows = model.posteriors(clip)
    padded = np.zeros((1, len(rows) * BLOCK), np.float32)
    padded[0, :samples] = clip
    np.testing.assert_allclose(rows, model.stream().process(padded)[0], atol=1e-5)
    assert len(rows) * BLOCK - samples >= model.card.tail_seconds * RATE


def test_a_label_is_the_smoothed_posterior_at_the_clearest_moment(model):
    clip = sound("speech", RATE, seed=3)
    result, rows = model.classify(clip), model.posteriors(clip)
    window = round(model.card.smoothing_seconds / 0.02)
    means = [rows[i : i + window].mean(axis=0) for i in range(len(rows) - window + 1)]
    spoken = [i for i, label in enumerate(model.labels) if label != "_silence_"]
    clear = max(means, key=lambda mean: mean[spoken].max())
    assert result.posterior == pytest.approx(dict(zip(model.labels, clear.tolist(), strict=True)), abs=1e-6)
    assert list(result.posterior.values()) == sorted(result.posterior.values(), reverse=True)
    assert (result.label, result.probability) == max(result.posterior.items(), key=lambda item: item[1])
    assert sum(result.posterior.values()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("decibels", [-60, -40, -20])
@pytest.mark.parametrize("seconds", [1, 3])
def test_noise_without_a_word_is_silence(model, decibels, seconds):
    hiss = np.random.default_rng(seconds).standard_normal(seconds * RATE) * 10 ** (decibels / 20)
    assert model.classify(hiss).label == "_silence_"


@pytest.mark.parametrize("seconds", [0.05, 1, 20])
def test_digital_silence_is_silence(model, seconds):
    assert model.classify(np.zeros(round(seconds * RATE), np.float32)).label == "_silence_"


def test_a_clip_is_the_same_by_any_door(model, tmp_path):
    samples = sound("speech", RATE, seed=5)
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    expected = model.classify(samples)
    with path.open("rb") as file:
        others = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file, samples.astype(np.float64)]
        assert [model.classify(other) for other in others] == [expected] * len(others)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 16_000), np.float32), "mono"),
        (np.zeros((), np.float32), "mono"),
        (np.full(16_000, 12_000, np.int16), "int16"),  # full scale would be taken for 32768
        (np.full(16_000, np.nan, np.float32), "NaN"),
        (np.array([0.1] * 8000 + [-np.inf] + [0.1] * 8000), "infinite"),
        (np.zeros(0, np.float32), "too short"),
        (np.ones(799, np.float32), "too short"),
        (np.zeros(60 * RATE + 1, np.float32), "too long"),
    ],
)
def test_an_array_that_is_no_clip_is_refused(model, array, reason):
    with pytest.raises(AudioError, match=reason) as caught:
        model.classify(array)
    assert len(str(caught.value).splitlines()) == 1


def test_many_clips_come_in_order_with_errors_in_place(model, tmp_path):
    good = [sound(kind, RATE, seed) for seed in range(5) for kind in KINDS]
    bad = [tmp_path / "missing.wav", b"", np.zeros(3, np.float32)]
    sounds = [*good[:3], bad[0], *good[3:12], bad[1], bad[2], *good[12:]]
    expected = [model.classify(clip) for clip in good]
    assert len({result.probability for result in expected}) == len(good)  # so that the order shows
    for workers in (None, 1, 4):
        results = list(model.classify_many(iter(sounds), workers))
        assert [r for r in results if not isinstance(r, AudioError)] == expected
        assert [i for i, r in enumerate(results) if isinstance(r, AudioError)] == [3, 13, 14]
        assert "missing.wav" in str(results[3])


def test_load_takes_the_shipped_model_or_a_named_one(model, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(Path(model.path).read_bytes())
    clip = sound("speech", RATE)
    assert speechrnn.load(copy).classify(clip) == speechrnn.load(str(copy)).classify(clip) == model.classify(clip)


def test_a_model_of_the_package_has_a_name(model, tmp_path, monkeypatch):
    assert located("gru-12") == model.path
    small = speechrnn.load("gru-12-small")
    assert small.labels == model.labels
    assert small.path.parent == model.path.parent
    monkeypatch.chdir(tmp_path)
    Path("gru-12").mkdir()  # as a run folder is called
    assert speechrnn.load().path == located("gru-12") == model.path
    Path("gru-12-small").touch()
    assert located("gru-12-small") == Path("gru-12-small")  # a file of the user's own comes first
    assert located("../gru-12") == Path("../gru-12")
    with pytest.raises(ModelError, match="gru-13: can't be read"):
        speechrnn.load("gru-13")
