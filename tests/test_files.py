"""Output files are whole or not there, nobody else's, and never in the place of what is read."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from speechrnn import files, pictures
from speechrnn.errors import InputError
from speechrnn.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links are others elsewhere")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(path, content, meanwhile, **how):
    """Write, and let something happen before the file takes its place."""
    with files.replacing(path, **how) as file:
        file.write(content)
        meanwhile()


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"older")
    with files.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"older"
        [beside] = set(names(tmp_path)) - {"x.txt"}
        assert files.TEMPORARY.search(beside)
        assert beside.startswith("x.txt.")
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["x.txt"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_goes_wrong_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_bytes(b"older")

    def fail():
        raise error

    with pytest.raises(error):
        put(path, b"half", fail)
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["x.txt"])


@pytest.mark.parametrize("write", ["bytes", "picture", "checkpoint"])
def test_a_full_disk_is_told_in_one_line(tmp_path, write):
    """A limit on the size of files stands for the disk."""
    path = tmp_path / "x.png"
    path.write_bytes(b"older")
    program = f"""
import resource
from pathlib import Path
from speechrnn.errors import InputError
path = Path({str(path)!r})
def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    if {write!r} == "bytes":
        from speechrnn.files import write
        limit()
        write(path, bytes(5000))
    elif {write!r} == "picture":
        from matplotlib.figure import Figure
        from speechrnn import pictures
        figure = Figure()
        figure.subplots().plot([0, 1], [0, 1])
        limit()
        pictures.save(figure, path)
    else:
        import torch
        from speechrnn.training import checkpoint
        limit()
        checkpoint.save(path, {{"weights": torch.zeros(5000)}})
except InputError as error:
    print(error)
"""
    if os.name != "posix":
        pytest.skip("needs limits on files")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (shown.stdout, shown.stderr) == (f"{path}: can't be written (File too large): make room there\n", "")
    assert (path.read_bytes(), names(tmp_path)) == (b"older", ["x.png"])


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "x.txt"
    path.write_bytes(b"older")
    path.chmod(mode)
    files.write(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_that_the_user_gives_new_files(tmp_path, mask):
    before = os.umask(mask)
    try:
        files.write(tmp_path / "x.txt", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o666 & ~mask


@POSIX
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "x.txt")
    for content in (b"first", b"second"):
        files.write(tmp_path / "link", content)
        assert (tmp_path / "there" / "x.txt").read_bytes() == content
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "there") == ["x.txt"]


@POSIX
def test_a_device_is_sent_what_is_written_and_stays(tmp_path):
    """As root, a renamed file would take the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write(pipe, b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_a_file_that_is_there_or_appears_is_not_replaced_unless_asked(tmp_path):
    path = tmp_path / "x.txt"
    with pytest.raises(files.TakenError):
        put(path, b"mine", lambda: path.write_bytes(b"somebody else's"), overwrite=False)
    with pytest.raises(files.TakenError, match="--overwrite"):
        files.write(path, b"mine", overwrite=False)
    assert (path.read_bytes(), names(tmp_path)) == (b"somebody else's", ["x.txt"])


def test_one_of_many_writers_gets_the_place_and_where_there_are_no_hard_links_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    for how in ("links", "none"):
        if how == "none":
            monkeypatch.setattr(os, "link", no_links)
        files.write(tmp_path / how, b"first", overwrite=False)
        late = tmp_path / "late"
        with pytest.raises(files.TakenError):
            put(late, b"second", lambda late=late: late.write_bytes(b"first"), overwrite=False)
        assert (tmp_path / how).read_bytes() == late.read_bytes() == b"first"
        late.unlink()
    assert names(tmp_path) == ["links", "none"]


def test_a_name_as_long_as_names_can_be(tmp_path):
    for character in ("n", "ü", "語"):
        path = tmp_path / (character * (251 // len(character.encode())) + ".txt")
        files.write(path, b"content")
        assert path.read_bytes() == b"content"
    with pytest.raises(InputError, match="can't be written"):
        files.write(tmp_path / ("n" * 300), b"content")


@POSIX
def test_a_killed_writer_leaves_a_file_that_is_known_and_removed_later(tmp_path):
    program = f"""
import os, time
from pathlib import Path
from speechrnn.files import replacing
with replacing(Path({str(tmp_path / "x.txt")!r})) as file:
    file.write(b"half"); file.flush(); print("written", flush=True); time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert writer.stdout.readline() == b"written\n"
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(10) == -signal.SIGKILL
    writer.stdout.close()
    [left] = tmp_path.iterdir()
    assert re.fullmatch(r"x\.txt\.speechrnn-[0-9a-f]{8}\.part", left.name)
    (tmp_path / "mine.part").write_bytes(b"not ours")
    files._swept.clear()
    files.write(tmp_path / "y.txt", b"whole")  # another writer may be at it still
    assert names(tmp_path) == sorted([left.name, "mine.part", "y.txt"])
    hours_ago = time.time() - 2 * files.STALE_SECONDS
    for path in (left, tmp_path / "mine.part"):
        os.utime(path, (hours_ago, hours_ago))
    files._swept.clear()
    files.write(tmp_path / "y.txt", b"whole")
    assert names(tmp_path) == ["mine.part", "y.txt"]


def test_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "x.txt"
    with files.replacing(path) as first, files.replacing(path) as second:
        first.write(b"first")
        second.write(b"second, which is longer")
    assert path.read_bytes() in (b"first", b"second, which is longer")
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".jpg", ".eps", ".svgz", ".tiff", ""])
def test_every_kind_of_picture_is_written(tmp_path, ending):
    figure = Figure(figsize=(1, 1))
    pictures.save(figure, tmp_path / f"x{ending}")
    assert (tmp_path / f"x{ending}").stat().st_size > 100
    assert names(tmp_path) == [f"x{ending}"]


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match=r"best\.pt: can't be written"):
        checkpoint.save(tmp_path / "gone" / "best.pt", {"weights": {}})


# what is read is not written


@POSIX
@pytest.mark.parametrize("through", ["itself", "symbolic link", "hard link", "another way"])
def test_an_input_is_known_under_every_name(tmp_path, through):
    given, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    given.write_bytes(b"model")
    if through == "itself":
        out = given
    elif through == "symbolic link":
        out.symlink_to(given)
    elif through == "hard link":
        out.hardlink_to(given)
    else:
        (tmp_path / "folder").mkdir()
        out = tmp_path / "folder" / ".." / "model.onnx"
    with pytest.raises(InputError, match=rf"^OUT {re.escape(str(out))}: would replace what is read"):
        files.check_writable(out, "OUT", None, "missing", given)
    files.check_writable(tmp_path / "free.onnx", "OUT", given)


def test_sound_in_a_folder_that_is_read_is_not_replaced(tmp_path):
    (tmp_path / "yes").mkdir()
    for name in ("0.WAV", "notes.txt"):
        (tmp_path / "yes" / name).write_bytes(b"mine")
    with pytest.raises(InputError, match="would replace what is read"):
        files.check_writable(tmp_path / "yes" / "0.WAV", "OUT", tmp_path)
    files.check_writable(tmp_path / "yes" / "notes.txt", "OUT", tmp_path)
    files.check_writable(tmp_path / "yes" / "1.wav", "OUT", tmp_path)
