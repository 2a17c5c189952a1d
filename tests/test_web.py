"""The page in the browser hears what `speechrnn spot` hears: in files, from a microphone, and without a network."""

import json
import shutil
import subprocess
import sys
import time

import matplotlib.image
import numpy as np
import onnx
import pytest
import soundfile
import soxr
import typer

import speechrnn
from export.web import chromium, screenshot
from export.web.serve import served
from speechrnn import audio
from tests.support.command_line import MODELS, ROOT, refused, run, with_values
from tests.support.environment import needs
from tests.support.page import build

WORDS = ["yes", "no", "left", "go"]
THRESHOLD = 0.5  # of all words, so that the examples are heard clearly
DETECTIONS = """
[...document.querySelectorAll("#detections li")].reverse()
  .map(({ dataset }) => [dataset.label, Number(dataset.time), Number(dataset.probability)])
"""
STATE = "document.body.dataset.state"
TROUBLE = "document.getElementById('trouble').textContent"
STATUS = "document.getElementById('status').textContent"
LISTEN = "document.getElementById('listen').click()"


@pytest.fixture(scope="module")
def site(onnxruntime_web, tmp_path_factory):
    """The folder that the command makes."""
    folder = tmp_path_factory.mktemp("web") / "site"
    command = [sys.executable, "-m", "export.web", str(folder), "--runtime", str(onnxruntime_web)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("web") / "recording.wav"
    screenshot.speak(WORDS, path, gap_seconds=0.5)
    return path


@pytest.fixture(scope="module")
def spoken(recording):
    """The same at the rate of the browser's microphone: given another, the browser resamples it first, and badly."""
    path = recording.with_name("spoken.wav")
    soundfile.write(path, soxr.resample(audio.load(recording), audio.SAMPLE_RATE, 44_100), 44_100)
    return path


def spotted(path, threshold=THRESHOLD):
    """What `speechrnn spot` finds: label, time, probability."""
    shown = run("spot", path, "--format", "jsonl", "--threshold", str(threshold))
    records = [json.loads(line) for line in shown.stdout.splitlines()]
    return [(r["label"], r["time"], r["probability"]) for r in records]


def browser(*arguments, **how):
    needs(*chromium.NAMES)
    return chromium.Browser(*arguments, **how)


def opened(page, address, threshold=THRESHOLD):
    page.open(f"{address}?threshold={threshold}")
    page.wait(f"{STATE} !== 'loading'")
    assert page.evaluate(STATE) == "ready", page.evaluate(TROUBLE)


@pytest.fixture(scope="module")
def page(site):
    """The page in a browser without a microphone, for what needs none."""
    with served(site) as address, browser() as tab:
        opened(tab, address)
        yield tab
        assert tab.trouble() == []


def heard_in(tab, path, give=None):
    """The detections in a file that is given to the page."""
    give = give or (lambda: tab.choose_file("#file", path))
    tab.evaluate("document.getElementById('status').textContent = ''")
    give()
    tab.wait(f"{STATE} === 'ready' && ({STATUS} + {TROUBLE}).includes({json.dumps(path.name)})")
    return tab.evaluate(DETECTIONS)


def assert_equal(found, expected):
    assert [label for label, _, _ in found] == [label for label, _, _ in expected]
    assert [time for _, time, _ in found] == pytest.approx([time for _, time, _ in expected], abs=0.0201)
    assert [p for _, _, p in found] == pytest.approx([p for _, _, p in expected], abs=1e-3)


# files


def test_the_recording_holds_the_words(recording):
    """Otherwise agreement would be cheap."""
    assert [label for label, _, _ in spotted(recording)] == WORDS


def test_a_file_has_the_detections_of_spot(page, recording):
    found = heard_in(page, recording)
    assert_equal(found, spotted(recording))
    assert [time for _, time, _ in found] == [time for _, time, _ in spotted(recording)]
    assert page.evaluate(STATUS).startswith("recording.wav: 4 words in 0:")
    assert page.evaluate(TROUBLE) == ""


@pytest.mark.parametrize(("name", "rate"), [("a.wav", 48_000), ("b.flac", 44_100), ("c.wav", 8_000), ("d.ogg", 44_100)])
def test_a_file_at_another_rate_has_them_too(page, recording, tmp_path, name, rate):
    path = tmp_path / name
    sound = soxr.resample(audio.load(recording), audio.SAMPLE_RATE, rate)
    soundfile.write(path, np.stack([1.5 * sound, 0.5 * sound], axis=1) if name == "b.flac" else sound, rate)
    expected = spotted(path)
    assert len(expected) >= 3
    assert_equal(heard_in(page, path), expected)


def test_the_number_beside_a_word_of_a_file_is_its_peak(page, recording, tmp_path):
    """Also where the page, which takes a second at a time, gets the sound up to the detection first."""
    first = round(spotted(recording)[0][1] * audio.SAMPLE_RATE)
    path = tmp_path / "later.wav"
    soundfile.write(path, np.pad(audio.load(recording), (-first % audio.SAMPLE_RATE, 0)), audio.SAMPLE_RATE)
    shown = run("spot", path, "--format", "jsonl", "--threshold", str(THRESHOLD))
    records = [json.loads(line) for line in shown.stdout.splitlines()]
    assert records[0]["time"] % 1.0 == 0.0
    assert min(r["peak"] - r["probability"] for r in records) > 0.1
    heard_in(page, path)
    items = page.evaluate(
        "[...document.querySelectorAll('#detections li')].reverse()"
        ".map((item) => [Number(item.dataset.peak), item.querySelector('.peak').textContent])"
    )
    assert [peak for peak, _ in items] == pytest.approx([r["peak"] for r in records], abs=1e-3)
    assert [text for _, text in items] == [f"{round(100 * peak)} %" for peak, _ in items]


def test_bars_have_marks_at_the_threshold_and_at_the_peak_of_late(page, recording):
    heard_in(page, recording)
    page.wait(f"document.querySelector('.word .mark').style.left === '{100 * THRESHOLD:g}%'")
    peaks = page.evaluate(
        "[...document.querySelectorAll('.word')]"
        ".map((word) => [word.querySelector('.name').textContent, parseFloat(word.querySelector('.peak').style.left)])"
    )
    assert [word for word, _ in peaks] == list(speechrnn.load().card.words)
    assert max(peaks, key=lambda peak: peak[1])[0] == "go"  # which was said last
    assert dict(peaks)["go"] > 90


def test_near_misses_are_listed_with_what_they_lacked(page, recording):
    """With thresholds that three of the four words don't reach."""
    threshold = 0.97
    slide = (
        "{{ const slider = document.getElementById('threshold'); slider.value = {};"
        "slider.dispatchEvent(new Event('input')) }}"
    )
    hearing = speechrnn.Spotter(speechrnn.load(), threshold=threshold)
    found = hearing.process(audio.load(recording))
    missed = [*hearing.near_misses]
    found += hearing.finish()
    missed += hearing.near_misses
    assert missed
    try:
        page.evaluate(slide.format(threshold))
        assert [label for label, _, _ in heard_in(page, recording)] == [d.label for d in found]
        shown = page.evaluate("[...document.querySelectorAll('#near-misses li')].reverse().map((li) => li.textContent)")
    finally:
        page.evaluate(slide.format(THRESHOLD))
    assert len(shown) == min(3, len(missed))
    for text, m in zip(shown, missed[-3:], strict=True):
        assert text == f"{m.label} {m.peak:.3f}, needs {threshold:.3f}0:{m.time:05.2f}"
    heard_in(page, recording)
    assert page.evaluate("document.getElementById('close').hidden") is True


def test_a_file_can_be_dropped_onto_the_page(page, recording):
    assert_equal(heard_in(page, recording, lambda: page.drop_file(300, 300, recording)), spotted(recording))
    assert page.evaluate("document.body.classList.contains('dragging')") is False


def test_the_model_s_own_thresholds_are_used_until_another_is_set(page, recording):
    page.evaluate("document.getElementById('own-threshold').click()")
    own = speechrnn.load().card.thresholds["yes"]
    page.wait(f"document.querySelector('.word .mark').style.left === '{100 * own:g}%'")
    sure = heard_in(page, recording)
    shown = run("spot", recording, "--format", "jsonl")
    assert [label for label, _, _ in sure] == [json.loads(line)["label"] for line in shown.stdout.splitlines()]
    page.evaluate(
        f"const slider = document.getElementById('threshold'); slider.value = {THRESHOLD};"
        "slider.dispatchEvent(new Event('input'))"
    )
    assert_equal(heard_in(page, recording), spotted(recording))


@pytest.mark.parametrize("content", [b"", b"This is a text that somebody has called .wav.\n" * 100])
def test_a_file_that_is_no_sound_is_named_and_the_page_goes_on(page, recording, tmp_path, content):
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    heard_in(page, path)
    assert page.evaluate(TROUBLE).startswith("broken.wav: ")
    assert len(heard_in(page, recording)) == len(WORDS)
    assert page.evaluate("document.getElementById('trouble').hidden") is True


# the microphone


def test_the_microphone_hears_the_words_when_they_are_said(site, spoken):
    expected = spotted(spoken)
    with served(site) as address, browser(spoken) as tab:
        opened(tab, address)
        tab.evaluate(LISTEN)
        tab.wait(f"{STATE} === 'listening'")
        assert "kHz" in tab.evaluate(STATUS)
        tab.wait(f"{DETECTIONS}.length >= {len(expected)}", 30)
        time.sleep(0.5)  # nothing comes after the last
        found = tab.evaluate(DETECTIONS)
        tab.evaluate(LISTEN)
        tab.wait(f"{STATE} === 'ready'")
        assert tab.trouble() == []
    assert [label for label, _, _ in found] == WORDS
    late = np.array([time for _, time, _ in found]) - [time for _, time, _ in expected]
    assert np.abs(late - np.median(late)).max() <= 0.0601  # three blocks: the sound lies elsewhere in them


def test_what_is_wrong_with_the_microphone_is_said(site, tmp_path):
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(10 * audio.SAMPLE_RATE), audio.SAMPLE_RATE)
    with served(site) as address:
        with browser() as tab:
            opened(tab, address)
            tab.evaluate(LISTEN)
            assert "No microphone" in tab.wait(TROUBLE)
            assert tab.evaluate(STATE) == "ready"
        with browser(silence, allowed=False) as tab:
            opened(tab, address)
            tab.evaluate(LISTEN)
            assert "denied" in tab.wait(TROUBLE)
            assert tab.evaluate(STATE) == "ready"
        with browser(silence) as tab:
            opened(tab, address)
            tab.evaluate("""{
              const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
              navigator.mediaDevices.getUserMedia = async (wishes) => window.given = await ask(wishes);
            }""")
            tab.evaluate(LISTEN)
            assert "exact zeros" in tab.wait(TROUBLE)
            assert tab.evaluate(STATE) == "listening"
            tab.evaluate("given.getAudioTracks()[0].dispatchEvent(new Event('ended'))")  # its plug is pulled
            assert "gone" in tab.wait(f"{STATE} === 'ready' && {TROUBLE}")


# without a network


def test_it_works_after_the_server_is_gone(site, recording):
    with browser() as tab:
        with served(site) as address:
            opened(tab, address)
            tab.wait("document.getElementById('offline').textContent")
        tab.command("Network.clearBrowserCache")
        opened(tab, address)  # a reload
        assert_equal(heard_in(tab, recording), spotted(recording))
        urls = {e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"}
        assert len(urls) > 10
        assert {url for url in urls if not url.startswith(address)} == set()


def test_a_new_build_takes_the_place_of_the_old_one(onnxruntime_web, tmp_path):
    site = tmp_path / "site"
    build(site, "--runtime", onnxruntime_web)
    with served(site) as address, browser() as tab:
        opened(tab, address)
        tab.wait("document.getElementById('offline').textContent")
        other = tmp_path / "other.onnx"
        other.write_bytes(with_values(onnx.load(speechrnn.load().path), name="another"))
        build(site, "--runtime", onnxruntime_web, "--model", other)
        [old] = tab.evaluate("caches.keys()")
        opened(tab, address)  # still the old one; meanwhile the new one is fetched
        replaced = f"caches.keys().then((names) => names.length === 1 && names[0] !== {json.dumps(old)})"
        tab.wait(replaced, timeout=240)  # a Chromium that was just started looks for a new build when the machine rests
        opened(tab, address)
        assert "another" in tab.evaluate("document.getElementById('model').textContent")


# for everybody


def test_every_control_has_a_name_and_detections_are_announced(page):
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    names = {}
    for node in nodes:
        names.setdefault(node.get("role", {}).get("value"), []).append(node.get("name", {}).get("value"))
    for role, count in (("button", 2), ("slider", 1), ("meter", 1 + len(speechrnn.load().card.words)), ("image", 1)):
        assert len(names[role]) >= count
        assert all(names[role]), (role, names[role])
    assert page.evaluate("document.getElementById('detections').ariaLive") == "polite"
    assert page.evaluate("document.getElementById('trouble').role") == "alert"


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_it_fits_a_phone(page, width):
    page.command("Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=2, mobile=True)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        page.command("Emulation.clearDeviceMetricsOverride")


def test_a_model_that_cannot_be_used_is_said_in_the_page(site, tmp_path):
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    with served(broken) as address, browser() as tab:
        reasons = {
            "foreign": "carries no model card",
            "cut-off": "cut off",
            "foreign-with-our-card": "doesn't fit",
            "card-with-too-few-labels": "doesn't fit",
            "card-with-another-state": "doesn't fit",
        }
        tab.command("Network.setBypassServiceWorker", bypass=True)
        tab.command("Network.setCacheDisabled", cacheDisabled=True)
        for name, reason in reasons.items():
            (broken / "model.onnx").write_bytes(MODELS[name](onnx.load(speechrnn.load().path)))
            tab.open(f"{address}?{name}")
            assert reason in tab.wait(TROUBLE)
            assert tab.evaluate(STATE) == "failed"
            assert tab.evaluate("document.getElementById('listen').disabled") is True


# its picture


def test_the_picture_is_drawn_by_its_command(tmp_path, onnxruntime_web):
    needs(*chromium.NAMES)
    picture = tmp_path / "page.png"
    options = ["--runtime", onnxruntime_web, "--words", "yes", "--width", 640, "--height", 700]
    shown = run(picture, *options, start=lambda: typer.run(screenshot.main))
    assert shown.returncode == 0, shown.stderr
    assert matplotlib.image.imread(picture).shape[:2] == (700, 640)
    assert list(tmp_path.iterdir()) == [picture]
    refused(run(tmp_path, start=lambda: typer.run(screenshot.main)), tmp_path)
