"""Label tracks: what is written is read again, subtitles hold their clocks, and a bad line is named."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.errors import InputError
from speechrnn.labels import Label, audacity, read_labels, srt, vtt, write_labels

times = st.integers(0, 4000).map(lambda step: step / 64)  # exact in decimals
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12).map(str.strip)
tracks = st.lists(st.builds(lambda start, length, word: Label(start, start + length, word), times, times, texts))


@settings(deadline=None, max_examples=50)
@given(tracks)
def test_any_labels_come_back_from_a_track(said):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        write_labels(path, said)
        back = read_labels(path)
    assert [label.word for label in back] == [label.word for label in said]
    for one, other in zip(back, said, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-6)


def test_a_track_of_audacity_is_read(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbf1.500000\t2.000000\tyes\r\n\\\t120.0\t4000.0\r\n\r\n3.5\t3.5\ttwo words\r\n")
    assert read_labels(path) == [Label(1.5, 2.0, "yes"), Label(3.5, 3.5, "two words")]


@pytest.mark.parametrize(
    "line", ["1.0 2.0 yes", "1.0\tyes", "a\t2.0\tyes", "2.0\t1.0\tyes", "-1\t1\tyes", "nan\t1\tyes", "0\tinf\tx"]
)
def test_a_wrong_line_is_named(tmp_path, line):
    path = tmp_path / "x.txt"
    path.write_text(f"0.0\t1.0\tyes\n{line}\n")
    with pytest.raises(InputError, match=r"x\.txt, line 2") as caught:
        read_labels(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_track_is_refused(tmp_path):
    (tmp_path / "sound.txt").write_bytes(b"RIFF\xff\xfe\x00")
    for name in ("sound.txt", "missing.txt", "."):
        with pytest.raises(InputError, match=r"sound\.txt|missing\.txt|can't be read"):
            read_labels(tmp_path / name)


def test_a_word_with_a_tab_or_a_line_break_is_not_written(tmp_path):
    for word in ("a\tb", "a\nb"):
        with pytest.raises(InputError, match="tab or a line break"):
            write_labels(tmp_path / "x.txt", [Label(0.0, 1.0, word)])
    assert not list(tmp_path.iterdir())


def test_subtitles_tell_the_same_labels():
    said = [Label(0.5, 1.25, "yes"), Label(3661.0, 3661.9996, "<no>")]
    assert list(srt(said)) == [
        "1\n00:00:00,500 --> 00:00:01,250\nyes\n\n",
        "2\n01:01:01,000 --> 01:01:02,000\n<no>\n\n",
    ]
    assert list(vtt(said)) == [
        "WEBVTT\n\n",
        "00:00:00.500 --> 00:00:01.250\nyes\n\n",
        "01:01:01.000 --> 01:01:02.000\n&lt;no&gt;\n\n",
    ]


def test_a_line_of_a_track_has_the_decimals_that_are_wanted():
    assert audacity(Label(1.0, 1.5, "yes")) == "1.000000\t1.500000\tyes\n"
    assert audacity(Label(1.0, 1.5, "yes"), decimals=3) == "1.000\t1.500\tyes\n"
