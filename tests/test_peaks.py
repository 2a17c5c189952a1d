"""How sure the network became of a word, and words that came close: in Python, the command line, C, and the page."""

import csv
import html
import io
import json
import re
import subprocess
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

import speechrnn
from export import listen_picture
from speechrnn import audio
from speechrnn.cli.feeds import Feed
from speechrnn.cli.listen import Listener
from speechrnn.cli.spot import detections
from speechrnn.cli.view import BAR_WIDTH, HOLD_SECONDS, View, WordBar
from speechrnn.decision import Detection, smooth
from speechrnn.evaluation.scoring import CachedPosteriors, judge
from speechrnn.labels import Label
from speechrnn.near_misses import GONE, NEAR
from speechrnn.spotter import Spotter
from tests.support.c_program import STRICT, Case, untrained, wandering
from tests.support.command_line import refused, run
from tests.support.environment import needs
from tests.support.made_streams import FakeModel, score, write
from tests.support.page import by_node, random_posteriors
from tests.support.posteriors import (
    BLOCK,
    CARD,
    LABELS,
    at_once,
    script,
    sound_of,
    sound_of_stretches,
    spotter,
    stretches,
)
from tests.support.sound_server import tone
from tests.support.tone_model import RATE, WORDS, said, write_tone_model


def in_pieces(hearing, sound, sizes):
    """Detections and near misses in the sound, given in pieces of these sizes again and again, and at its end."""
    found, missed, highest, start, turn = [], [], hearing.highest, 0, 0
    while start < len(sound):
        size = sizes[turn % len(sizes)]
        found += hearing.process(sound[start : start + size])
        missed += hearing.near_misses
        highest = np.maximum(highest, hearing.highest)
        start, turn = start + size, turn + 1
    found += hearing.finish()
    return found, missed + hearing.near_misses, np.maximum(highest, hearing.highest)


# the peak of a detection


def test_a_detection_is_given_at_once_and_its_peak_rises_until_it_is_final():
    hearing, seen = at_once(threshold=0.5, refractory_seconds=0.1), []  # five blocks
    sound = script(ja=[0.1, 0.6, 0.7, 0.9, 0.8, 0.4, 0.95, 0.1])
    found = []
    for start in range(0, len(sound), BLOCK):
        found += hearing.process(sound[start : start + BLOCK])
        seen += [(d.peak, d is hearing.pending) for d in found]
    assert [(round(float(peak), 4), pending) for peak, pending in seen] == [
        (0.6, True), (0.7, True), (0.9, True), (0.9, True), (0.9, False), (0.9, False), (0.9, False),
    ]  # fmt: skip
    assert [(d.label, d.time, d.probability) for d in found] == [("ja", 0.04, pytest.approx(0.6))]


def test_the_end_of_the_sound_makes_a_peak_final():
    hearing = at_once(threshold=0.5, refractory_seconds=3600.0)
    [found] = hearing.process(script(ja=[0.6, 0.8]))
    assert hearing.pending is found
    hearing.finish()
    assert hearing.pending is None
    assert found.peak == pytest.approx(0.8)
    [found] = at_once(threshold=0.5, refractory_seconds=3600.0).process(script(ja=[0.6, 0.7]))
    assert found.peak == pytest.approx(0.7)


def test_a_reset_makes_a_peak_final():
    hearing = at_once(threshold=0.5, refractory_seconds=1.0)
    [found] = hearing.process(script(ja=[0.6, 0.8]))
    hearing.reset()
    hearing.process(script(ja=[1.0]))
    assert (found.peak, hearing.near_misses) == (pytest.approx(0.8), [])


def test_without_a_refractory_time_the_peak_is_what_reached_the_threshold():
    hearing = at_once(threshold=0.5)
    [found] = hearing.process(script(ja=[0.6, 0.9]))
    assert (found.peak, hearing.pending) == (found.probability, None)


def test_the_peak_is_of_the_word_that_was_detected():
    hearing = at_once(threshold=0.5, refractory_seconds=0.2)
    [found] = hearing.process(script(ja=[0.6, 0.7, 0.1], nein=[0.1, 0.9, 0.95]))
    assert (found.label, found.peak) == ("ja", pytest.approx(0.7))


def test_a_peak_is_never_below_the_probability():
    assert Detection("ja", 1.0, 0.7).peak == 0.7
    assert Detection("ja", 1.0, 0.7, 0.9).peak == 0.9


@settings(deadline=None, max_examples=80)
@given(
    stretches,
    st.integers(0, BLOCK - 1),
    st.sampled_from([0.0, 0.04, 0.1]),
    st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    st.lists(st.integers(1, 3000), min_size=1, max_size=9),
)
def test_peaks_and_near_misses_do_not_depend_on_how_the_sound_is_cut(parts, odd, smoothing, refractory, sizes):
    sound = sound_of_stretches(parts, odd)
    how = {"memory": 0.25, "smoothing_seconds": smoothing, "refractory_seconds": refractory}
    whole, pieces = in_pieces(spotter(**how), sound, [len(sound)]), in_pieces(spotter(**how), sound, sizes)
    for expected, found in zip(whole[:2], pieces[:2], strict=True):
        assert [(d.label, d.time) for d in found] == [(d.label, d.time) for d in expected]
        assert [d.peak for d in found] == pytest.approx([d.peak for d in expected])
    assert [d.probability for d in pieces[0]] == pytest.approx([d.probability for d in whole[0]])
    np.testing.assert_allclose(pieces[2], whole[2])


def plainly(rows, upper, lower, window, refractory):
    """What the descriptions of `Spotter` and `NearMisses` say, block by block: detections with peaks, near misses."""
    found, missed, armed, spent, close = [], [], [True, True], [False, False], [None, None]
    padded = np.concatenate([np.zeros((window - 1, 2)), rows])
    means = [padded[block : block + window].mean(axis=0) for block in range(len(rows))]
    ready_at = 0
    for block, mean in enumerate(means):
        ready = [w for w in (0, 1) if armed[w] and mean[w] >= upper[w] and block >= ready_at]
        if ready:
            word = max(ready, key=lambda w: mean[w])
            ready_at = block + refractory
            within = means[block : max(ready_at, block + 1)]
            found.append((word, block, mean[word], max(other[word] for other in within)))
            armed[word], close = False, [None, None]
            spent = [mean[w] >= GONE * upper[w] for w in (0, 1)]
        else:
            for w in (0, 1):
                able = armed[w] and block >= ready_at and not spent[w] and mean[w] >= NEAR * upper[w]
                if able and (close[w] is None or mean[w] > close[w][2]):
                    close[w] = (w, block, mean[w])
                if mean[w] < GONE * upper[w]:
                    missed += [close[w]] if close[w] else []
                    close[w], spent[w] = None, False
        armed = [armed[w] or mean[w] < lower[w] for w in (0, 1)]
    return found, missed + [one for one in close if one]


@settings(deadline=None, max_examples=150)
@given(stretches, st.sampled_from([1, 3, 5]), st.integers(0, 20))
@example([(0.0, 0.0, 3), (0.46875, 0.0, 12), (0.0, 0.0, 9)], 1, 5)  # a near miss alone
def test_peaks_and_near_misses_are_what_the_descriptions_say(parts, window, refractory):
    hearing = spotter(smoothing_seconds=window * 0.02, refractory_seconds=refractory * 0.02)
    found, missed, _ = in_pieces(hearing, sound_of_stretches(parts, 0), [10**6])
    rows = [(ja, nein) for ja, nein, blocks in parts for _ in range(blocks)] + [(0.0, 0.0)] * 10  # the tail
    expected, close = plainly(np.array(rows), (0.501, 0.651), (0.4008, 0.5208), window, refractory)
    assert [(d.label, block_of(d)) for d in found] == [(LABELS[word], block) for word, block, *_ in expected]
    assert [d.probability for d in found] == pytest.approx([p for _, _, p, _ in expected])
    assert [d.peak for d in found] == pytest.approx([peak for *_, peak in expected])
    assert [(m.label, block_of(m)) for m in missed] == [(LABELS[word], block) for word, block, _ in close]
    assert [m.peak for m in missed] == pytest.approx([peak for *_, peak in close])
    assert all(NEAR * m.threshold <= m.peak < m.threshold for m in missed)


# near misses


def near_misses(ja=(), nein=(), **how):
    """Label, block of the peak, peak."""
    _, missed, _ = in_pieces(at_once(**how), script(ja, nein), [BLOCK])
    return [(m.label, block_of(m), round(m.peak, 3)) for m in missed]


def test_a_word_that_came_close_is_told_once_with_what_it_lacked():
    hearing = at_once(thresholds={"ja": 0.8})
    _, [missed], _ = in_pieces(hearing, script(ja=[0.1, 0.7, 0.79, 0.75, 0.1, 0.0]), [BLOCK])
    assert (missed.label, missed.time, missed.threshold) == ("ja", 0.06, 0.8)
    assert missed.peak == pytest.approx(0.79)


def test_an_approach_is_over_when_the_word_has_fallen_below_half_of_its_threshold():
    assert near_misses(ja=[0.7, 0.41, 0.75, 0.5, 0.7, 0.1], threshold=0.8) == [("ja", 2, 0.75)]
    assert near_misses(ja=[0.7, 0.39, 0.75, 0.1], threshold=0.8) == [("ja", 0, 0.7), ("ja", 2, 0.75)]
    assert near_misses(ja=[0.55, 0.1, 0.55, 0.1], threshold=0.8) == []


def test_each_word_is_close_by_itself():
    found = near_misses(ja=[0.7, 0.7, 0.0, 0.0], nein=[0.0, 0.6, 0.65, 0.0], threshold=0.8)
    assert found == [("ja", 0, 0.7), ("nein", 2, 0.65)]


def test_what_comes_with_a_detection_is_no_near_miss():
    """Nor what comes in its refractory time, nor the detected word while it fades."""
    rival, word = [0.7, 0.7, 0.7, 0.0, 0.0], [0.1, 0.9, 0.7, 0.65, 0.0]
    for seconds in (0.0, 0.04, 1.0):
        assert near_misses(ja=rival, nein=word, threshold=0.8, refractory_seconds=seconds) == []
        assert near_misses(ja=word, threshold=0.8, refractory_seconds=seconds, hysteresis=1.0) == []
    later = {"ja": [0, 0, 0, 0.7, 0, 0], "nein": [0, 0.9, 0, 0, 0, 0], "threshold": 0.8}
    assert near_misses(**later, refractory_seconds=0.1) == []
    assert near_misses(**later, refractory_seconds=0.04) == [("ja", 3, 0.7)]


def test_a_word_that_has_to_fall_first_is_no_near_miss():
    """Whatever it reaches, it lacks something else."""
    assert near_misses(ja=[0.9, 0.3, 0.9, 0.3], threshold=0.8, hysteresis=0.1) == []


def test_a_near_miss_at_the_very_end_is_told_and_a_reset_forgets():
    hearing = spotter(threshold=0.8, smoothing_seconds=0.0)
    hearing._tail = 0  # as in a card without a tail
    hearing.process(script(ja=[0.0, 0.7]))
    assert hearing.near_misses == []
    hearing.finish()
    assert [(m.label, m.time) for m in hearing.near_misses] == [("ja", 0.04)]
    hearing.process(script(ja=[0.7]))
    hearing.reset()
    hearing.finish()
    assert hearing.near_misses == []


def test_no_sound_is_no_near_miss_again():
    hearing = at_once(threshold=0.8)
    hearing.process(script(ja=[0.7, 0.0]))
    assert len(hearing.near_misses) == 1
    hearing.process(np.zeros(1, np.float32))
    assert hearing.near_misses == []


def test_a_block_in_which_nothing_is_near_a_threshold_is_not_decided_on(monkeypatch):
    """Work for nothing: most blocks are of that kind."""
    decided, hearing = [], spotter(threshold=0.8)
    original = hearing._decide_block
    monkeypatch.setattr(hearing, "_decide_block", lambda row: decided.append(hearing._blocks) or original(row))
    rows = np.full((1000, len(LABELS)), 0.2)
    rows[500:520, 0] = 0.9
    assert len(hearing.process(sound_of(rows))) == 1
    assert decided
    assert 500 <= min(decided) <= max(decided) < 535


# results that can wait, and those that can't


SENSITIVE = {"yes": 0.5}  # reached when three of five blocks hold the tone
OPTIONS = ["-t", "yes=0.5"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Yes, a no that stays just below its threshold of 0.8, and yes."""
    rng = np.random.default_rng(0)
    unclear = tone(WORDS["no"], 0.4, RATE)
    unclear = unclear + rng.standard_normal(len(unclear)).astype(np.float32) * np.sqrt(np.mean(unclear**2) / 3)
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, 0.5 * np.concatenate([said("yes"), unclear, said("yes")]), RATE)
    return path


@pytest.fixture(scope="module")
def expected(model, clip):
    """What the clip must come to."""
    hearing = speechrnn.Spotter(speechrnn.load(model), thresholds=SENSITIVE)
    found, missed, _ = in_pieces(hearing, audio.load(clip), [10**6])
    smoothed = smooth(np.pad(speechrnn.load(model).posteriors(audio.load(clip)), ((4, 0), (0, 0))), 5)
    for detection in found:
        block = block_of(detection)
        assert detection.probability == pytest.approx(smoothed[block, 0], abs=1e-6)
        assert detection.peak == pytest.approx(smoothed[block : block + 25, 0].max(), abs=1e-6)
        assert detection.peak > detection.probability + 0.1
    assert [d.label for d in found] == ["yes", "yes"]
    assert [m.label for m in missed] == ["no"]
    return found


def block_of(found):
    return round(found.time * RATE / BLOCK) - 1


def test_spot_gives_the_peak_in_its_table_and_both_in_data(model, clip, expected):
    table = [line.split() for line in run("spot", clip, *OPTIONS, "-m", model).stdout.splitlines()]
    assert [(label, number) for *_, label, number in table] == [("yes", f"{d.peak:.3f}") for d in expected]
    records = [json.loads(line) for line in run("spot", clip, *OPTIONS, "-m", model, "-f", "jsonl").stdout.splitlines()]
    numbers = [(round(d.probability, 6), round(d.peak, 6)) for d in expected]
    assert [(r["probability"], r["peak"]) for r in records] == numbers
    rows = csv.DictReader(io.StringIO(run("spot", clip, *OPTIONS, "-m", model, "-f", "csv").stdout))
    assert [(float(row["probability"]), float(row["peak"])) for row in rows] == numbers


def test_spot_gives_a_detection_when_its_peak_is_final_and_not_later(clip, model, monkeypatch):
    """Cut into blocks, each detection comes with the sound that ends its refractory time."""
    pieces = np.split(audio.load(clip), np.arange(BLOCK, len(audio.load(clip)), BLOCK))
    given = 0

    def blocks(source, **how):
        nonlocal given
        for piece in pieces:
            given += len(piece)
            yield piece

    monkeypatch.setattr(audio, "blocks", blocks)
    hearing = speechrnn.Spotter(speechrnn.load(model), thresholds=SENSITIVE)
    came = [(detection.time, given / RATE) for detection in detections(hearing, str(clip))]
    assert [heard - time for time, heard in came] == pytest.approx([0.48, 0.48])  # 25 blocks, with the first
    assert len(came) == 2


def test_listen_gives_the_posterior_that_reached_the_threshold_at_once(model, clip, expected):
    lines = [line.split() for line in run("listen", clip, *OPTIONS, "-m", model).stdout.splitlines()]
    assert [number for *_, number in lines] == [f"{d.probability:.3f}" for d in expected]
    records = [
        json.loads(line) for line in run("listen", clip, *OPTIONS, "-m", model, "-f", "jsonl").stdout.splitlines()
    ]
    assert [r["probability"] for r in records] == [round(d.probability, 6) for d in expected]


@pytest.mark.parametrize(("verb", "named"), [("spot", "peak"), ("listen", "reached the threshold"), ("score", "peak")])
def test_help_says_which_number_is_shown(verb, named):
    assert named in " ".join(run(verb, "--help").stdout.split())


def test_score_tells_how_sure_the_hits_were(tmp_path):
    recording = write(tmp_path / "x.wav", ("yes", 1.0), ("go", 3.0), labels=[Label(1.0, 1.4, "yes")])
    model = FakeModel(level=0.9)  # three blocks are averaged: 0.3, 0.6, 0.9
    shown = score(recording, "-t", "0.5", model=model).stdout
    assert "posterior of hits: median 0.60 when detected, 0.90 at the peak\n" in shown
    assert "hits with less than 0.8: 100.0% when detected, 0.0% at the peak\n" in shown
    figures = json.loads(score(recording, "-t", "0.5", "--json", model=model).stdout)
    assert (figures["probability_median"], figures["peak_median"]) == pytest.approx((0.6, 0.9))
    assert "posterior of hits" not in score(recording, "-w", "no", model=model).stdout


def test_scores_add_up_with_their_hits():
    said_ = (Label(0.0, 0.4, "yes"),)
    rows = np.zeros((60, 5), np.float32)
    rows[5:15, 0] = 0.9
    one = CachedPosteriors(rows, said_, 1.2)
    whole = judge(Spotter(FakeModel(), threshold=0.5), [one, one])
    assert whole.probabilities == pytest.approx((0.6, 0.6))
    assert whole.peaks == pytest.approx((0.9, 0.9))
    assert judge(Spotter(FakeModel(), words=["no"]), [one]).peak_median is None


# the live view


def text(view, listener):
    console = Console(file=io.StringIO(), width=100)
    console.print(view.picture(listener))
    return console.file.getvalue()


def viewed(model, clip, size=1600):
    """A listener with a view that has heard a clip, and what was shown after each piece."""
    recogniser, shown, sound = speechrnn.load(model), [], audio.load(clip)

    def pieces():
        for start in range(0, len(sound), size):
            yield sound[start : start + size]
            shown.append(text(view, listener))

    hearing = speechrnn.Spotter(recogniser, thresholds=SENSITIVE)
    view = View(hearing, recogniser.labels, Console(file=io.StringIO()))
    listener = Listener(hearing, Feed("clip.wav", pieces()), None, view)
    listener.run()
    return shown, text(view, listener)


def test_the_number_of_a_word_in_the_live_view_rises_to_its_peak(model, clip, expected):
    shown, last = viewed(model, clip, BLOCK)
    line = re.compile(rf"^ *{expected[0].time:.2f}  yes +(\d\.\d+) *$", re.MULTILINE)
    numbers = [found[1] for found in map(line.search, shown) if found]
    assert numbers[0] == f"{expected[0].probability:.3f}"
    assert numbers[-1] == line.search(last)[1] == f"{expected[0].peak:.3f}"
    assert numbers == sorted(numbers)


def test_the_live_view_lists_near_misses_with_what_they_lacked(model, clip):
    shown, last = viewed(model, clip)
    [(time, number)] = re.findall(r"^ +(\d+\.\d\d)  no +(0\.\d{3}), needs 0\.800$", last, re.MULTILINE)
    assert 0.7 * 0.8 < float(number) < 0.8
    assert 1.0 < float(time) < 2.0
    assert "needs 0.800" not in shown[10]


def test_near_misses_and_peaks_keep_their_time_after_a_device_was_away():
    hearing = at_once(threshold=0.8, refractory_seconds=1.0)
    view = View(hearing, LABELS, Console(file=io.StringIO()))
    view.add(hearing.process(script(nein=[0.7, 0.0], ja=[0.0, 0.0])), 5.0)
    assert [(m.label, m.time) for m in view.missed] == [("nein", 5.02)]


def test_a_peak_is_held_for_some_seconds():
    hearing, held = at_once(threshold=0.8), []
    view = View(hearing, LABELS, Console(file=io.StringIO()))
    listener = SimpleNamespace(latest=np.zeros(0), dropped=0, feed=Feed("x", ()), seconds=0.0, complaint="")
    for posterior in [0.7] + [0.2] * round((HOLD_SECONDS + 1) / 0.02):
        view.add(hearing.process(script(ja=[posterior])))
        held.append(re.search(r"^ja .*(0\.\d\d) +(0\.\d{3}) 0\.800 *$", text(view, listener), re.MULTILINE).groups())
    assert held[:2] == [("0.70", "0.700"), ("0.20", "0.700")]
    turn = held.index(("0.20", "0.200"))
    assert turn == pytest.approx(HOLD_SECONDS / 0.02, abs=2)
    assert set(held[1:turn]) == {("0.20", "0.700")}
    assert set(held[turn:]) == {("0.20", "0.200")}


@pytest.mark.parametrize("ascii_only", [False, True])
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 1))
def test_a_bar_has_marks_at_the_threshold_and_at_the_peak(ascii_only, posterior, peak, threshold):
    line = WordBar(posterior, peak, threshold).text(ascii_only).plain
    needed, held = "|:" if ascii_only else "┃│"
    assert len(line) == BAR_WIDTH
    assert line.index(needed) == min(BAR_WIDTH - 1, int(BAR_WIDTH * threshold))
    place = min(BAR_WIDTH - 1, int(BAR_WIDTH * peak))
    assert line.find(held) in {place, -1}
    assert (line.find(held) == -1) == (place in {0, line.index(needed)})
    assert line.isascii() or not ascii_only


def test_a_terminal_without_blocks_gets_other_characters():
    bar = WordBar(0.5, 0.75, 0.9)
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80).print(bar)
    file.flush()
    assert file.buffer.getvalue().decode().rstrip() == "#" * 20 + " " * 10 + ":" + " " * 5 + "|"


def test_the_picture_of_the_live_view_is_drawn_by_its_command(tmp_path):
    picture = tmp_path / "listen.svg"
    shown = run(picture, "--words", "yes,go", "-t", "yes=0.97", start=lambda: typer.run(listen_picture.main))
    assert shown.returncode == 0, shown.stderr
    drawn = html.unescape("".join(re.findall(r">([^<]*)</text>", picture.read_text()))).replace("\xa0", " ")
    assert "close, but not detected:" in drawn
    assert re.search(r"yes +0\.\d{3}, needs 0\.970", drawn)
    assert list(tmp_path.iterdir()) == [picture]
    refused(run(tmp_path, start=lambda: typer.run(listen_picture.main)), tmp_path)


# C

DRIVER = """
#include <stdio.h>
#include "speechrnn.h"

static speechrnn_state state;

int main(void)
{
    float row[SPEECHRNN_LABELS], peak = 0.0f;
    int label = -1;
    uint32_t left = 0;

    speechrnn_init(&state);
    while (fread(row, sizeof row, 1, stdin)) {
        speechrnn_detection found;
        if (speechrnn_decide(&state, row, &found)) {
            if (label >= 0)
                printf(" %.9g\\n", (double)peak);
            printf("%u %d %.9g", (unsigned)found.blocks, found.label, (double)found.probability);
            label = found.label;
            peak = state.smoothed[label];
            left = SPEECHRNN_REFRACTORY;
        }
        if (left) {
            left--;
            if (state.smoothed[label] > peak)
                peak = state.smoothed[label];
        }
    }
    if (label >= 0)
        printf(" %.9g\\n", (double)peak);
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("refractory", [0.0, 0.02, 0.5])
def test_a_c_program_can_hold_the_peak_that_python_gives(tmp_path, refractory):
    untrained(tmp_path)
    case = Case(tmp_path / "rnn.onnx", thresholds={"yes": 0.4, "no": 0.55}, refractory_seconds=refractory)
    case.made.write(tmp_path)
    (tmp_path / "driver.c").write_text(DRIVER)
    sources = [tmp_path / name for name in ("driver.c", "speechrnn.c")]
    subprocess.run([needs("gcc"), *STRICT, "-o", tmp_path / "driver", *sources, "-lm"], check=True)
    raised = 0
    for seed in range(8):
        rows = wandering(seed, len(case.model.labels))
        expected = Spotter(case.model).decide(rows)
        raised += sum(d.peak > d.probability + 0.1 for d in expected)
        done = subprocess.run([tmp_path / "driver"], input=rows.tobytes(), capture_output=True, check=True)
        found = [line.split() for line in done.stdout.decode().splitlines()]
        assert [(int(blocks) - 1, case.model.labels[int(label)]) for blocks, label, *_ in found] == [
            (block_of(d), d.label) for d in expected
        ]
        numbers = [(d.probability, d.peak) for d in expected]
        np.testing.assert_allclose([(float(p), float(peak)) for *_, p, peak in found], numbers, atol=1e-6)
    assert raised > 3 or refractory < 0.1


# the page


@pytest.mark.parametrize(
    ("seed", "threshold", "changes"),
    [(0, None, {}), (1, 0.7, {"refractory_seconds": 0.0}), (2, 0.6, {"smoothing_seconds": 0.06, "hysteresis": 0.9})],
)
def test_the_page_has_the_peaks_and_near_misses_of_python(seed, threshold, changes):
    model = speechrnn.load()
    rows = random_posteriors(model, seed)
    hearing = Spotter(model, threshold=threshold, **changes)
    expected, missed = hearing.decide(rows), hearing.near_misses
    pieces = np.split(rows, np.sort(np.random.default_rng(seed).integers(0, len(rows), 200)))
    script = """
const [card, threshold, pieces] = given;
const spotter = new page.Spotter(card, threshold ?? undefined);
const found = [], missed = [];
let highest = spotter.highest;
for (const piece of pieces) {
  found.push(...spotter.decide(Float32Array.from(piece.flat())));
  missed.push(...spotter.nearMisses);
  highest = highest.map((value, i) => Math.max(value, spotter.highest[i]));
}
const pending = found.map((detection) => detection === spotter.pending);
return { found, missed, highest, pending };
"""
    settings_ = {**asdict(model.card), **changes}
    answer = by_node("spotter.js", script, settings_, threshold, [piece.tolist() for piece in pieces])
    assert len(expected) > 10
    assert len(missed) > 5
    assert any(d.peak > d.probability for d in expected) or changes.get("refractory_seconds") == 0.0
    numbers = [(d["probability"], d["peak"]) for d in answer["found"]]
    np.testing.assert_allclose(numbers, [(d.probability, d.peak) for d in expected], atol=1e-12)
    assert answer["pending"] == [d is hearing.pending for d in expected]
    assert [(m["label"], m["time"]) for m in answer["missed"]] == [(m.label, m.time) for m in missed]
    numbers = [(m["peak"], m["threshold"]) for m in answer["missed"]]
    np.testing.assert_allclose(numbers, [(m.peak, m.threshold) for m in missed], atol=1e-12)
    columns = [model.labels.index(word) for word in model.card.words]
    np.testing.assert_allclose(answer["highest"], hearing.highest[columns], atol=1e-12)


def test_the_page_tells_a_near_miss_at_the_very_end():
    script = """
const spotter = new page.Spotter(given[0], 0.8);
spotter.decide(Float32Array.from([0.7, 0, 0, 0]));
const before = spotter.nearMisses.length;
spotter.finish();
return [before, spotter.nearMisses];
"""
    before, [missed] = by_node("spotter.js", script, asdict(CARD) | {"smoothing_seconds": 0.0})
    assert before == 0
    assert missed == {"label": "ja", "time": 0.02, "peak": pytest.approx(0.7), "threshold": 0.8}


def test_a_detection_in_the_page_shows_its_crossing_first_and_then_its_peak():
    script = """
class Element { // as much of the browser's as the list needs
  constructor() { Object.assign(this, { dataset: {}, children: [] }); }
  append(...children) { this.children.push(...children); }
  prepend(child) { this.children.unshift(child); }
  replaceChildren(...children) { this.children = children; }
}
globalThis.document = { createElement: () => new Element() };
const list = new page.DetectionList(new Element(), new Element());
const numbers = () => list.list.children.map((item) => [item.children[2].textContent, item.dataset.peak]);
const first = { label: "yes", time: 1, probability: 0.6, peak: 0.6 }, second = { ...first, label: "no", time: 2 };
list.add(first);
const shown = [numbers()];
first.peak = 0.98;
list.update();
shown.push(numbers());
list.add(second);
second.peak = 0.7;
list.update();
shown.push(numbers());
list.clear();
list.update();
return [...shown, numbers()];
"""
    first, peak, both, none = by_node("view.js", script)
    assert first == [["60 %", 0.6]]
    assert peak == [["98 %", 0.98]]
    assert both == [["70 %", 0.7], ["98 %", 0.98]]
    assert none == []


def test_another_threshold_makes_no_near_miss_of_what_was_close_to_the_old_one():
    script = """
const spotter = new page.Spotter(given[0], 0.95);
const row = (value) => Float32Array.from([value, 0, 0, 0]);
for (let i = 0; i < 10; i++) spotter.decide(row(0.7));
spotter.setThreshold(given[1]);
const missed = [];
for (let i = 0; i < 10; i++) { spotter.decide(row(0)); missed.push(...spotter.nearMisses); }
return missed.length;
"""
    assert by_node("spotter.js", script, asdict(CARD), 0.99) == 0
