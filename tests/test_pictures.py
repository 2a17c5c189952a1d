"""A picture shows what was heard: the right size, not blank, tones at their height, labels by their names."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from speechrnn import pictures
from speechrnn.card import Card
from speechrnn.errors import InputError
from speechrnn.evaluation.calibration import Bin

RATE, BLOCK = 16_000, 320
WIDTH, HEIGHT = 990, 660


@pytest.fixture(scope="module")
def card():
    words = ("yes", "no", "stop")
    return Card(
        name="tiny",
        labels=(*words, "_unknown_", "_silence_"),
        words=words,
        sample_rate=RATE,
        block_length=BLOCK,
        state_size=1,
        front_end={"window_length": 400, "hop_length": 160, "n_fft": 512},
        network={},
        tail_seconds=0.2,
        smoothing_seconds=0.1,
        thresholds=dict.fromkeys(words, 0.5),
        hysteresis=0.8,
        refractory_seconds=0.5,
        training_data=(),
    )


def tone(frequency, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def posteriors_of(card, label, blocks=60):
    """Rising from nothing to certainty of one label."""
    rows = np.zeros((blocks, len(card.labels)), np.float32)
    rows[:, card.labels.index(label)] = np.linspace(0, 1, blocks)
    return rows


def drawn(card, path, samples=None, label="yes", title="a title"):
    pictures.clip(tone(1000) if samples is None else samples, posteriors_of(card, label), card, title, path)
    return path


def pixels(path):
    return matplotlib.image.imread(path)[..., :3]


def loudest(path):
    """Rows and columns of the loudest colours of the spectrogram, pale yellows that are nowhere else."""
    red, green, blue = np.moveaxis(pixels(path), 2, 0)
    return np.nonzero((red > 0.9) & (green > 0.8) & (blue < 0.85))


def test_a_picture_of_a_clip_has_its_size_and_is_not_blank(card, tmp_path):
    picture = pixels(drawn(card, tmp_path / "clip.png"))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    for half in (picture[: HEIGHT // 2], picture[HEIGHT // 2 :]):
        assert half.std() > 0.05


def test_a_tone_stands_at_its_height_in_the_spectrogram(card, tmp_path):
    heights = [loudest(drawn(card, tmp_path / f"{f}.png", tone(f)))[0].mean() for f in (1000, 4000, 7000)]
    steps = -np.diff(heights)
    assert min(steps) > 50
    assert steps[0] == pytest.approx(steps[1], rel=0.05)  # the axis is linear


def test_the_posteriors_are_those_given(card, tmp_path):
    rising, flat = posteriors_of(card, "yes"), posteriors_of(card, "yes")
    flat[:] = 0.3
    shots = []
    for i, rows in enumerate((rising, flat)):
        pictures.clip(tone(1000), rows, card, "", tmp_path / f"{i}.png")
        shots.append(pixels(tmp_path / f"{i}.png"))
    assert np.array_equal(shots[0][:250], shots[1][:250])  # the spectrogram is the same
    assert not np.array_equal(shots[0][350:], shots[1][350:])


@pytest.mark.parametrize("label", ["yes", "_unknown_", "_silence_"])
@pytest.mark.filterwarnings("error")
def test_the_label_that_was_heard_is_named_and_no_other(card, tmp_path, label):
    text = drawn(card, tmp_path / "clip.svg", label=label).read_text()  # texts stand in it as comments too
    assert [name for name in card.labels if f"<!-- {name} -->" in text] == [label]


def test_digital_silence_can_be_drawn(card, tmp_path):
    path = drawn(card, tmp_path / "silence.png", np.zeros(RATE, np.float32), "_silence_")
    assert pixels(path).shape == (HEIGHT, WIDTH, 3)


def test_dollar_signs_in_a_title_are_not_mathematics(card, tmp_path):
    assert "<!-- $5_ and $6_ -->" in drawn(card, tmp_path / "clip.svg", title="$5_ and $6_").read_text()


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG"), ("", b"\x89PNG")],
)
def test_the_name_decides_the_kind(card, tmp_path, suffix, magic):
    assert drawn(card, tmp_path / f"clip{suffix}").read_bytes().startswith(magic)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["clip.xyz", "clip.wav", "clip.pgf", "missing/clip.png", "file/clip.png", "n" * 300 + ".png"]
)
def test_a_picture_that_cannot_be_written_is_refused_and_leaves_nothing(card, tmp_path, name):
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(InputError) as caught:
        drawn(card, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_confusions_are_in_per_cent_of_what_was_said(tmp_path):
    pictures.confusions(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 5]]), ("yes", "no", "_silence_"), tmp_path / "c.svg")
    text = (tmp_path / "c.svg").read_text()
    numbers = [n for n in ("75.0", "25.0", "100.0", "0.0") if f"<!-- {n} -->" in text]
    assert numbers == ["75.0", "25.0", "100.0"]  # nothing where nothing was heard
    assert text.count("<!-- _silence_ -->") == 2


def test_a_reliability_diagram_names_its_lines_and_believed_more_than_true_lies_below_the_diagonal(tmp_path):
    bins = [Bin(10, 0.5, 0.1), Bin(90, 0.9, 0.5)]
    pictures.reliability({"before": bins, "after": [Bin(100, 0.9, 0.9)]}, tmp_path / "r.svg")
    text = (tmp_path / "r.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in ("before", "after"))
    pictures.reliability({"before": bins}, tmp_path / "r.png")
    picture = pixels(tmp_path / "r.png")
    blue = (picture[..., 2] - picture[..., 0]) > 0.25  # the line and its points
    blue[:100] = False  # the legend
    height, width = np.nonzero(blue)
    assert (width - 60 > picture.shape[0] - 40 - height).mean() > 0.95


def test_of_few_clips_a_reliability_diagram_says_how_many_they_are(tmp_path):
    pictures.reliability({"before": [Bin(7, 0.5, 0.4), Bin(913, 0.9, 0.9)]}, tmp_path / "r.svg")
    text = (tmp_path / "r.svg").read_text()
    assert all(f"<!-- {count} -->" in text for count in ("7", "913"))


def test_a_det_curve_shows_two_to_twenty_per_cent_and_a_place_for_no_false_accept(tmp_path):
    points = [(0.5, 9.0, 0.03), (0.8, 2.0, 0.06), (0.99, 0.0, 1.0)]
    pictures.det(points, (3.0, 0.0), tmp_path / "d.svg")
    text = (tmp_path / "d.svg").read_text()
    named = ("0", "2", "5", "10", "20", "0.5", "0.8", "words missed (%)", "false accepts per hour")
    assert all(f"<!-- {name} -->" in text for name in named)
    assert "<!-- 0.99 -->" not in text  # everything is missed there: beyond the picture


def test_a_det_curve_of_a_recording_without_a_miss_or_a_false_accept_can_be_drawn(tmp_path):
    pictures.det([(0.1, 0.0, 0.0), (0.9, 0.0, 0.0)], (0.0, 0.0), tmp_path / "d.png")
    assert pixels(tmp_path / "d.png").shape[2] == 3


def test_curves_name_the_layers(tmp_path):
    keys = ("training_loss", "validation_loss", "validation_accuracy", "learning_rate", "gradient_norm/cell.bias")
    history = [{"epoch": e, **dict.fromkeys(keys, 1.0 / e)} for e in (1, 2, 3)]
    pictures.curves(history, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in ("cell.bias", "validation accuracy (%)", "cross-entropy"))


def test_sound_and_posteriors_stand_on_one_time_axis(card, tmp_path):
    """A burst in the last quarter stands where the posterior, at the same time, jumps from 0 to 1."""
    samples = np.pad(tone(3000, 0.3), (round(0.9 * RATE), 0))
    rows = posteriors_of(card, "yes")
    rows[:, card.labels.index("yes")] = np.arange(60) >= 45
    for name, block_length in (("short", BLOCK), ("long", 2 * BLOCK)):  # the same rows over twice the time
        pictures.clip(samples, rows, replace(card, block_length=block_length), "", tmp_path / f"{name}.png")
    columns = {name: loudest(tmp_path / f"{name}.png")[1] for name in ("short", "long")}
    left, right = 60, WIDTH  # of the axes, roughly
    assert (columns["short"].mean() - left) / (right - left) == pytest.approx(1.05 / 1.2, abs=0.04)
    assert (columns["long"].mean() - left) / (right - left) == pytest.approx(1.05 / 2.4, abs=0.04)
    picture = pixels(tmp_path / "short.png")[HEIGHT * 3 // 4]  # a row through the jump
    assert (picture.std(axis=1) > 0.1)[round(columns["short"].min()) - 25 : round(columns["short"].min()) + 15].any()
