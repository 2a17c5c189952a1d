"""Fetching and unpacking, against a server on this machine that can be told to behave badly."""

import hashlib
import io
import random
import re
import socket
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from data_scripts import download as module
from data_scripts.download import ARCHIVES, ATTRIBUTION, app

pytestmark = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="this Python can't unpack archives safely: 3.11.4 or later can"
)

ARCHIVE_NAME = "speech_commands_v0.01.tar.gz"
FILES = {
    f"./{word}/a_nohash_{n}.wav": random.Random(f"{word}{n}").randbytes(40_000)
    for word in ("yes", "no")
    for n in (0, 1)
}


def tar_gz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = tar_gz(FILES)


@dataclass
class Behaviour:
    """What the server holds, how it errs, and what it was asked for."""

    content: bytes = ARCHIVE
    ranges: bool = True
    cut_after: int | None = None  # bytes of body after which the connection is closed
    status: int | None = None
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # Range header of each request
    sent: list[int] = field(default_factory=list)  # bytes of body of each answer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        behaviour = self.server.behaviour
        content, wanted = behaviour.content, self.headers.get("Range")
        behaviour.asked.append(wanted)
        if behaviour.status:
            self.send_error(behaviour.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and behaviour.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            behaviour.sent.append(0)
            self.end_headers()
            return
        self.send_response(206 if wanted and behaviour.ranges else 200)
        if wanted and behaviour.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:][: behaviour.cut_after]
        behaviour.sent.append(len(body))  # before the client has all of it and a test goes on
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.behaviour = Behaviour(url=f"http://127.0.0.1:{http.server_port}/{ARCHIVE_NAME}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http.behaviour
        http.shutdown()
        thread.join()


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "data" / "commands"


def run(dest, url, content=ARCHIVE, *options):
    arguments = ["v0.01", str(dest), "--url", url, "--sha256", hashlib.sha256(content).hexdigest(), *options]
    return CliRunner().invoke(app, arguments)


def assert_refused(result, *, match):
    """One line, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("speechrnn: ")
    assert re.search(match, result.stderr), result.stderr


def assert_unpacked(dest):
    for name, content in FILES.items():
        assert (dest / name).read_bytes() == content


def beside(dest):
    return sorted(path.name for path in dest.parent.iterdir())


def test_fetches_and_unpacks_and_credits(server, dest):
    result = run(dest, server.url)
    assert result.exit_code == 0, result.output
    assert ATTRIBUTION in result.stdout
    assert_unpacked(dest)
    assert beside(dest) == ["commands"]
    assert server.asked == [None]


def test_an_empty_folder_is_filled(server, dest):
    dest.mkdir(parents=True)
    assert run(dest, server.url).exit_code == 0
    assert_unpacked(dest)


def test_goes_on_where_the_connection_broke(server, dest):
    server.cut_after = 70_000
    assert_refused(run(dest, server.url), match=rf"connection lost at 70,000 of {len(ARCHIVE):,} bytes: run again")
    assert beside(dest) == [f"{ARCHIVE_NAME}.part"]
    server.cut_after = None
    assert run(dest, server.url).exit_code == 0
    assert server.asked == [None, "bytes=70000-"]
    assert server.sent == [70_000, len(ARCHIVE) - 70_000]
    assert_unpacked(dest)
    assert beside(dest) == ["commands"]


def test_starts_over_where_the_server_knows_no_ranges(server, dest):
    server.ranges = False
    server.cut_after = 70_000
    run(dest, server.url)
    server.cut_after = None
    assert run(dest, server.url).exit_code == 0
    assert server.sent == [70_000, len(ARCHIVE)]
    assert_unpacked(dest)


def test_a_part_that_is_whole_is_not_fetched_again(server, dest):
    dest.parent.mkdir()
    (dest.parent / f"{ARCHIVE_NAME}.part").write_bytes(ARCHIVE)
    assert run(dest, server.url).exit_code == 0
    assert server.sent == [0]
    assert_unpacked(dest)


def test_a_part_longer_than_the_archive_is_fetched_anew(server, dest):
    dest.parent.mkdir()
    (dest.parent / f"{ARCHIVE_NAME}.part").write_bytes(ARCHIVE + b"more")
    assert run(dest, server.url).exit_code == 0
    assert server.asked == [f"bytes={len(ARCHIVE) + 4}-", None]
    assert_unpacked(dest)


def test_wrong_checksum_unpacks_nothing_and_says_so(server, dest):
    result = run(dest, server.url, b"something else")
    assert_refused(result, match=f"checksum {hashlib.sha256(ARCHIVE).hexdigest()}, not .* the download was removed")
    assert beside(dest) == []
    assert run(dest, server.url).exit_code == 0
    assert server.asked == [None, None]


@pytest.mark.parametrize("length", [10, 70_000])
def test_a_truncated_archive_leaves_nothing(server, dest, length):
    server.content = ARCHIVE[:length]
    assert_refused(run(dest, server.url, server.content), match="is broken, nothing was unpacked")
    assert beside(dest) == []


def link_outside():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("yes/link")
        member.type, member.linkname = tarfile.SYMTYPE, "../../../outside"
        tar.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [tar_gz({"yes/a.wav": b"good", "../outside.wav": b"bad"}), link_outside()], ids=["path", "link"]
)
def test_members_that_point_outside_are_refused(server, dest, content):
    server.content = content
    assert_refused(run(dest, server.url, content), match="is refused, nothing was unpacked: .*outside")
    assert beside(dest) == []


def test_an_archive_without_files_is_refused(server, dest):
    server.content = tar_gz({})
    assert_refused(run(dest, server.url, server.content), match="holds no files")
    assert beside(dest) == []


def test_offline(dest):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert_refused(run(dest, f"http://127.0.0.1:{port}/x.tar.gz"), match="can't be reached .*check the network")


def test_http_error(server, dest):
    server.status = 404
    assert_refused(run(dest, server.url), match="the server answers 404 Not Found")


def test_full_disk_is_seen_before_the_download(server, dest, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    assert_refused(run(dest, server.url), match=f"disk full: .* needs {len(ARCHIVE):,} bytes more, 1,000 are free")
    assert beside(dest) == []


def test_full_disk_while_unpacking_keeps_the_download(server, dest, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", no_space)
        assert_refused(run(dest, server.url), match="No space left on device.*make room")
    assert beside(dest) == [f"{ARCHIVE_NAME}.part"]
    assert run(dest, server.url).exit_code == 0
    assert server.sent == [len(ARCHIVE), 0]


def test_a_complete_folder_is_left_alone(server, dest):
    run(dest, server.url)
    result = run(dest, server.url)
    assert result.exit_code == 0
    assert "complete already" in result.stdout
    assert ATTRIBUTION in result.stdout
    assert len(server.asked) == 1


def test_a_complete_folder_of_another_archive_is_refused(server, dest):
    run(dest, server.url)
    assert_refused(run(dest, server.url, b"another"), match=r"holds another archive \(v0\.01\)")


def test_a_folder_that_lost_files_is_refused(server, dest):
    run(dest, server.url)
    (dest / "yes" / "a_nohash_0.wav").unlink()
    assert_refused(run(dest, server.url), match="has lost 1 of its 4 files")


def test_a_folder_with_other_things_is_refused(server, dest):
    dest.mkdir(parents=True)
    (dest / "mine.txt").write_text("mine")
    assert_refused(run(dest, server.url), match="isn't an empty folder")
    assert (dest / "mine.txt").read_text() == "mine"
    assert server.asked == []


def test_the_archive_can_be_kept_and_serves_the_next_run(server, dest):
    assert run(dest, server.url, ARCHIVE, "--keep-archive").exit_code == 0
    assert beside(dest) == ["commands", ARCHIVE_NAME]
    assert run(dest.with_name("again"), server.url).exit_code == 0
    assert beside(dest) == ["again", "commands", ARCHIVE_NAME]
    assert len(server.asked) == 1


def test_a_kept_archive_with_a_wrong_checksum_is_not_removed(server, dest):
    dest.parent.mkdir()
    (dest.parent / ARCHIVE_NAME).write_bytes(b"mine")
    assert_refused(run(dest, server.url), match="remove it and run again")
    assert (dest.parent / ARCHIVE_NAME).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("option", "value", "match"), [("--url", "ftp://x/y", "isn't an address"), ("--sha256", "12", "isn't a SHA-256")]
)
def test_bad_options_are_named(dest, option, value, match):
    assert_refused(CliRunner().invoke(app, ["v0.01", str(dest), option, value]), match=match)


def test_help_shows_an_example():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "python -m data_scripts.download v0.02" in result.stdout


def test_published_archives_have_an_address_and_a_checksum():
    for archive in ARCHIVES.values():
        assert archive.url.startswith("http://download.tensorflow.org/data/speech_commands_")
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
