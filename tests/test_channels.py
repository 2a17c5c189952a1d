"""Which channel is listened to: by number, the mean, the loudest; and channels that cancel each other."""

import io
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import speechrnn
from speechrnn import audio, channels, microphone
from speechrnn.channels import Mixer
from speechrnn.cli.doctor import advice, hints
from speechrnn.errors import AudioError, InputError, SoundWarning
from speechrnn.microphone import Microphone
from tests.support.command_line import ROOT, run
from tests.support.sound_server import GOOD, Library
from tests.support.tone_model import rows, said, write_tone_model

RATE = 16_000
YES = ROOT / "examples" / "yes.wav"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


@pytest.fixture(scope="module")
def opposite(tmp_path_factory):
    """The word "yes", with the second channel inverted."""
    path = tmp_path_factory.mktemp("opposite") / "opposite.wav"
    voice = audio.load(YES)
    soundfile.write(path, np.stack([voice, -voice], axis=1), RATE)
    return path


@pytest.fixture(scope="module")
def two_words(tmp_path_factory):
    """ "yes" in the first channel, "no" in the second, as the model of tones understands them."""
    path = tmp_path_factory.mktemp("two") / "two.wav"
    soundfile.write(path, np.stack([said("yes"), said("no")], axis=1), RATE)
    return path


def mixed(channel, frames, rate=RATE, cuts=()):
    mix = Mixer(channel, frames.shape[1], rate, "sound")
    return np.concatenate([mix(piece) for piece in np.split(frames, sorted(cuts))]), mix


# which one


@pytest.mark.parametrize("wanted", [1, "1", 2, "2"])
def test_a_channel_is_taken_by_its_number_from_1_on(wanted):
    frames = np.arange(20, dtype=np.float32).reshape(10, 2)
    np.testing.assert_array_equal(mixed(wanted, frames)[0], frames[:, int(wanted) - 1])


@pytest.mark.parametrize("wanted", [0, -1, "0", "two", "", "1.5", 1.5, True, None, "²", "999999999999"])
def test_what_is_no_channel_is_refused(wanted):
    with pytest.raises(InputError, match="--channel"):
        channels.parse(wanted)


def test_a_channel_that_is_not_there_names_the_file_and_how_many_there_are(opposite):
    with pytest.raises(AudioError, match=r"opposite.wav: has 2 channels, so --channel 3 is none"):
        audio.load(opposite, channel=3)
    with pytest.raises(AudioError, match=r"yes.wav: has 1 channel,"):
        speechrnn.load().classify(YES, channel=2)


def test_the_mean_is_what_it_was():
    frames = np.random.default_rng(0).standard_normal((5000, 3)).astype(np.float32)
    np.testing.assert_array_equal(mixed("mean", frames)[0], frames.mean(axis=1))


def test_the_loudest_follows_who_speaks_and_is_not_lured_by_an_offset():
    rng = np.random.default_rng(0)
    frames = 1e-3 * rng.standard_normal((4 * RATE, 3)).astype(np.float32)
    frames[:, 2] += 0.5
    frames[RATE : 2 * RATE, 1] += 0.2 * rng.standard_normal(RATE).astype(np.float32)
    frames[3 * RATE :, 0] += 0.2 * rng.standard_normal(RATE).astype(np.float32)
    found, _ = mixed("loudest", frames)
    settled = round(0.04 * RATE)  # a window until it is known, and one of blending
    np.testing.assert_array_equal(found[RATE + settled : 2 * RATE], frames[RATE + settled : 2 * RATE, 1])
    np.testing.assert_array_equal(found[3 * RATE + settled :], frames[3 * RATE + settled :, 0])


def test_a_channel_that_is_hardly_louder_is_no_reason_to_change():
    rng = np.random.default_rng(0)
    frames = 0.1 * rng.standard_normal((2 * RATE, 2)).astype(np.float32)
    frames[: RATE // 2, 0] *= 2
    frames[RATE // 2 :, 1] *= 1.2
    found, _ = mixed("loudest", frames)
    np.testing.assert_array_equal(found[RATE:], frames[RATE:, 0])


def test_a_change_of_channel_does_not_click():
    time = np.arange(RATE) / RATE
    frames = np.stack([0.1 * np.sin(2 * np.pi * 100 * time), np.zeros(RATE)], axis=1).astype(np.float32)
    frames[RATE // 2 :, 1] = 0.9 * np.cos(2 * np.pi * 100 * time[RATE // 2 :])
    steps = np.abs(np.diff(mixed("loudest", frames)[0]))
    assert steps.max() < 1.2 * np.abs(np.diff(frames[RATE // 2 + 1 :, 1])).max()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9000), max_size=8),
    st.sampled_from(["mean", "loudest", 2]),
    st.sampled_from([8000, 44_100]),
    st.integers(2, 4),
)
def test_the_cuts_make_no_difference(cuts, channel, rate, count):
    rng = np.random.default_rng(count)
    level = np.repeat(10.0 ** rng.uniform(-3, 0, (9, count)), 1000, axis=0)
    frames = (level * rng.standard_normal((9000, count))).astype(np.float32)
    np.testing.assert_array_equal(mixed(channel, frames, rate, cuts)[0], mixed(channel, frames, rate)[0])


# opposite phase


def test_opposite_phase_is_a_warning_that_names_the_file_and_the_remedy(opposite):
    with pytest.warns(SoundWarning, match=r"opposite.wav: .*--channel 1") as told:
        assert np.abs(audio.load(opposite)).max() < 1e-4
    assert len(told) == 1


def test_one_channel_of_opposite_phase_is_the_word(opposite):
    recogniser = speechrnn.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = [recogniser.classify(opposite, channel).label for channel in (1, 2, "loudest")]
    assert labels == ["yes", "yes", "yes"]


@pytest.mark.parametrize("gain", [-0.8, -1.2])
def test_channels_that_nearly_cancel_are_told(gain):
    voice = audio.load(YES)
    with pytest.warns(SoundWarning):
        mixed("mean", np.stack([voice, gain * voice], axis=1))


@pytest.mark.parametrize("kind", ["equal", "one silent", "unlike", "silent", "faint", "late", "moment"])
def test_other_channels_are_no_news(kind):
    rng = np.random.default_rng(0)
    voice, noise = audio.load(YES), 0.1 * rng.standard_normal(RATE).astype(np.float32)
    moment = voice.copy()
    moment[: RATE // 10] = noise[: RATE // 10]
    first = {"silent": 0 * voice, "faint": 1e-5 * noise, "moment": moment}.get(kind, voice)
    second = {"equal": voice, "one silent": 0 * voice, "unlike": noise, "late": np.roll(voice, 7)}.get(kind, -first)
    if kind == "moment":
        second = moment.copy()
        second[: RATE // 10] *= -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed("mean", np.stack([first, second], axis=1).astype(np.float32))


def test_it_is_told_once_and_over_when_it_is_over():
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(3 * RATE).astype(np.float32)
    frames = np.stack([noise, -noise], axis=1)
    mix = Mixer("mean", 2, RATE, "sound")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        states = []
        for sign in (1, -1, 1, -1):
            mix(frames * np.float32([1, sign]))
            states.append(mix.cancels)
    assert states == [True, False, True, False]
    assert [warning.category for warning in told] == [SoundWarning]


@pytest.mark.parametrize("verb", ["classify", "spot", "listen", "plot"])
def test_every_verb_tells_opposite_phase_in_one_line_and_hears_one_channel(verb, opposite, tmp_path):
    extra = ["-o", tmp_path / "x.png"] if verb == "plot" else []
    sensitive = ["-t", "0.5"] if verb in ("spot", "listen") else []
    shown = run(verb, opposite, *extra, *sensitive)
    assert shown.returncode == 0
    assert "yes" not in shown.stdout.replace(str(opposite), "")
    assert shown.stderr.count("opposite phase") == 1
    assert f"{opposite}: " in shown.stderr
    taken = run(verb, opposite, "--channel", "1", *extra, *sensitive)
    assert "yes" in taken.stdout.replace(str(opposite), "")
    assert "opposite phase" not in taken.stderr


def test_score_and_evaluate_hear_the_channel_that_they_are_told_to(model, two_words, tmp_path):
    for word, channel in (("yes", "1"), ("no", "2")):
        (tmp_path / "track.txt").write_text(f"0.6\t1.0\t{word}\n")
        scored = run(
            "score", two_words, "--labels", tmp_path / "track.txt", "-m", model, "--channel", channel, "--json"
        )
        assert json.loads(scored.stdout)["hits"] == 1
    (tmp_path / "clips" / "no").mkdir(parents=True)
    (tmp_path / "clips" / "no" / "x.wav").write_bytes(two_words.read_bytes())
    accuracies = [
        json.loads(run("evaluate", tmp_path / "clips", "-m", model, "--channel", n, "--json").stdout)["accuracy"]
        for n in "12"
    ]
    assert accuracies == [0.0, 1.0]


@pytest.mark.parametrize("how", [[], ["--realtime"]])
def test_listen_hears_the_channel_that_it_is_told_to(model, two_words, how):
    for channel, word in (("1", "yes"), ("2", "no")):
        shown = run("listen", two_words, "-m", model, "--channel", channel, *how)
        assert [label for _, label, _ in rows(shown.stdout)] == [word]


@pytest.mark.parametrize("verb", ["classify", "spot", "listen", "plot", "score", "evaluate", "doctor"])
def test_what_is_no_channel_is_one_line(verb, opposite):
    shown = run(verb, *([] if verb == "doctor" else [opposite]), "--channel", "left")
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert "--channel left" in shown.stderr


# a microphone


class Array(Library):
    """A device of so many channels that opens with any number of them up to that."""

    def __init__(self, count):
        self.count, self.opened = count, []

    def query_devices(self):
        return [super().query_devices()[0] | {"max_input_channels": self.count}]

    def InputStream(self, *, channels, **how):
        self.opened.append(channels)
        stream = super().InputStream(channels=4, **how)
        play = self.block
        self.block = lambda values: play(values[:channels])
        return stream


@pytest.fixture
def array(monkeypatch):
    def plug(count):
        made = Array(count)
        monkeypatch.setattr(microphone, "_library", lambda: made)
        return made

    return plug


@pytest.mark.parametrize(
    ("count", "channel", "every", "opened"),
    [
        (1, "mean", False, 1),
        (2, "mean", False, 2),
        (6, "mean", False, 2),  # the rest may be what is played
        (6, "mean", True, 6),
        (6, "loudest", False, 6),
        (6, 1, False, 6),  # a driver that is asked for fewer may mix them
        (32, 3, False, 3),  # a sound server: it has as many as are asked for
        (32, "loudest", False, 2),
    ],
)
def test_as_many_channels_are_opened_as_are_needed(array, count, channel, every, opened):
    library = array(count)
    with Microphone(None, channel, every):
        assert library.opened == [opened]


def test_a_channel_of_a_microphone_is_taken(array):
    library = array(4)
    with Microphone(None, 3) as source:
        library.block([0.1, 0.2, 0.3, 0.4])
        np.testing.assert_allclose(next(iter(source)), 0.3, rtol=1e-6)
        assert source.channel_levels == pytest.approx([-20.0, -13.98, -10.46, -7.96], abs=0.01)


def test_a_channel_that_a_microphone_does_not_have_is_refused_when_it_is_opened(array):
    array(2)
    with pytest.raises(AudioError, match="array: has 2 channels"), Microphone(None, 3):
        pass


def test_a_microphone_of_opposite_phase_says_so_and_not_that_it_is_too_quiet(array):
    library = array(2)
    with Microphone() as source:
        noise = 0.1 * np.random.default_rng(0).standard_normal(1600)
        for _ in range(5):
            library.block(np.stack([noise, -noise], axis=1))
        with pytest.warns(SoundWarning, match="array: its channels cancel"):
            piece = next(iter(source))
        assert source.cancels
        assert "opposite phase" in source.complaint(piece)
        assert "too quiet" not in source.complaint(piece)


# what doctor says


def test_opposite_phase_is_told_alone_and_not_as_too_quiet_or_muted():
    for more in ({"peak_dbfs": -90.0}, {"exact_zeros": True, "peak_dbfs": -120.0}):
        finding = replace(GOOD, channels_cancel=True, channel_rms_dbfs=(-30.0, -30.0), **more)
        (problem,) = advice(finding)
        assert "opposite phase" in problem
        assert "--channel 1" in problem
        assert hints(finding) == []


def test_a_channel_that_hears_nothing_is_told_with_the_one_that_hears():
    assert "--channel 2" in hints(replace(GOOD, channel_rms_dbfs=(-90.0, -30.0)))[0]
    muted = replace(GOOD, channel=1, exact_zeros=True, channel_rms_dbfs=(-120.0, -30.0))
    assert "--channel 2" in advice(muted)[0]
    assert "muted" not in advice(muted)[0]


def test_an_array_is_told_that_not_every_channel_need_be_a_microphone():
    (hint,) = hints(replace(GOOD, channel_rms_dbfs=(-30.0, -31.0, -30.0, -29.0, -30.0, -35.0)))
    assert "6 channels" in hint
    assert "--channel 1" in hint


@pytest.mark.parametrize("more", [{}, {"channel_rms_dbfs": (-30.0,)}, {"channel_rms_dbfs": (-30.0, -33.0)}])
def test_a_good_microphone_gets_no_hint(more):
    assert hints(replace(GOOD, **more)) == []
    assert hints(replace(GOOD, channel=1, channel_rms_dbfs=(-30.0, -90.0))) == []


def test_bytes_in_memory_take_a_channel_too(two_words):
    data = two_words.read_bytes()
    np.testing.assert_array_equal(audio.load(io.BytesIO(data), channel=2), audio.load(data, channel="2"))
