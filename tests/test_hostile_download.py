"""A server that means no good, and archives that do: one line, nothing unpacked, nothing outside the folder."""

import gzip
import hashlib
import io
import socketserver
import tarfile
import threading

import pytest
from typer.testing import CliRunner

from data_scripts import download as module
from data_scripts.download import app

pytestmark = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="this Python can't unpack archives safely: 3.11.4 or later can"
)


def tar_gz(*members):
    """Of pairs of what a member is called, or a `TarInfo`, and its content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = tar_gz(("yes/a.wav", b"good" * 1000), ("no/b.wav", b"good"))


class Raw(socketserver.ThreadingTCPServer):
    """Sends the bytes that stand for a path, or for any path; also those that are no HTTP."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), None)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.tar.gz"
        self.answers, self.asked = {}, []

    def finish_request(self, request, client_address):
        line = b""
        while b"\r\n\r\n" not in line:
            line += request.recv(4096)
        path = line.split()[1].decode()
        self.asked.append(path)
        for piece in self.answers.get(path, self.answers.get("any", b"HTTP/1.0 404 No\r\n\r\n")):
            try:
                request.sendall(piece)
            except OSError:  # the client has had enough
                return


@pytest.fixture
def server():
    with Raw() as raw:
        thread = threading.Thread(target=raw.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield raw
        raw.shutdown()
        thread.join()


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "data" / "commands"


def run(dest, url, content=GOOD):
    return CliRunner().invoke(
        app, ["v0.01", str(dest), "--url", url, "--sha256", hashlib.sha256(content).hexdigest()], catch_exceptions=False
    )


def assert_refused(result, *named):
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "\x1b" not in result.stderr
    assert all(name in result.stderr for name in named), result.stderr


def answer(headers, body=GOOD, status="200 OK"):
    return [f"HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n".encode("latin-1"), body]


@pytest.mark.parametrize(
    "length", ["", "abc", "-5", "٣", "12, 12", "9" * 5000, "1e3", " ", "0x10"], ids=lambda text: text[:9]
)
def test_a_length_that_says_nothing_is_no_reason_to_stop(server, dest, length):
    header = f"Content-Length: {length}\r\n".encode().decode("latin-1") if length else ""
    server.answers["any"] = answer(header)
    result = run(dest, server.url)
    assert result.exit_code == 0, result.stderr
    assert (dest / "yes" / "a.wav").read_bytes() == b"good" * 1000


@pytest.mark.parametrize("length", ["+3", "1_0"])
def test_a_length_that_python_alone_can_read_spoils_the_download_and_no_more(server, dest, length):
    server.answers["any"] = answer(f"Content-Length: {length}\r\n")
    assert_refused(run(dest, server.url), "checksum", "the download was removed")
    assert list(dest.parent.iterdir()) == []


def test_a_length_beyond_the_disk_is_refused_before_anything_is_fetched(server, dest):
    server.answers["any"] = answer(f"Content-Length: {10**17}\r\n")
    assert_refused(run(dest, server.url), "disk full", f"{10**17:,}", "make room")
    assert list(dest.parent.iterdir()) == []


def test_more_than_was_promised_is_left_alone(server, dest):
    server.answers["any"] = answer(f"Content-Length: {len(GOOD)}\r\n", GOOD + b"more" * 100_000)
    assert run(dest, server.url).exit_code == 0


def test_what_never_ends_is_stopped_and_removed(server, dest, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    server.answers["any"] = [*answer("", b""), *[bytes(100_000)] * 100]
    assert_refused(run(dest, server.url), server.url, "more than 1,000,000 bytes")
    assert list(dest.parent.iterdir()) == []


def test_what_nobody_said_the_length_of_leaves_some_disk_free(server, dest, monkeypatch):
    free = iter(range(100_000_000, 0, -10_000_000))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": next(free)}))
    server.answers["any"] = [*answer("", b""), *[bytes(100_000)] * 100]
    assert_refused(run(dest, server.url), "disk full", "make room")


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("file:///etc/passwd", "answers 302"),
        ("ftp://127.0.0.1/x.tar.gz", "isn't an address"),
        ("data:,x", "answers 302"),
        ("http://[::1", "no address"),
        ("http://127.0.0.1:99999/", "isn't an address"),
        ("http://user@127.0.0.1/", "isn't an address"),
        ("/archive.tar.gz", "answers 302"),
        ("/other", "answers 302"),
    ],
)
def test_a_redirect_to_nowhere_good_is_refused(server, dest, target, named):
    server.answers["any"] = answer(f"Location: {target}\r\nContent-Length: 0\r\n", b"", "302 Found")
    assert_refused(run(dest, server.url), named)
    assert len(server.asked) <= 12
    assert list(dest.parent.iterdir()) == []


def test_a_redirect_to_another_place_is_followed(server, dest):
    elsewhere = server.url.replace("127.0.0.1", "localhost").replace("archive", "there")
    server.answers["/archive.tar.gz"] = answer(f"Location: {elsewhere}\r\nContent-Length: 0\r\n", b"", "302 Found")
    server.answers["/there.tar.gz"] = answer(f"Content-Length: {len(GOOD)}\r\n")
    assert run(dest, server.url).exit_code == 0
    assert server.asked == ["/archive.tar.gz", "/there.tar.gz"]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/9.9 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 500 \x1b[31mred\x1b[0m\r\nConnection: close\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "another HTTP", "many headers", "a long header", "a bad chunk", "escape sequences"],
)
def test_an_answer_that_is_none_is_one_line(server, dest, sent):
    server.answers["any"] = [sent]
    assert_refused(run(dest, server.url), server.url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "http://", "http:///x", "http://a b/", "http://host/a b", "http://host:port/", "http://host:99999/"),
        *(
            "http://[::1",
            "http://[x]/",
            "http://user:word@host/",
            "http://exämple.com/",
            "http://a..b/",
            "http://\udcff/",
        ),
        *("file:///etc/passwd", "ftp://host/x", "HTTP:/host", "http://host/\n", f"http://{'a' * 70}.com/"),
    ],
)
def test_an_address_that_is_none_is_named_before_anything_is_made(dest, url):
    assert_refused(run(dest, url or " "), "isn't an address")
    assert not dest.parent.exists()


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


HOSTILE = {
    "a link within": (special("yes/link", tarfile.SYMTYPE, "a.wav"), b""),
    "a link outside": (special("yes/link", tarfile.SYMTYPE, "../../../x"), b""),
    "a hard link": (special("yes/link", tarfile.LNKTYPE, "yes/a.wav"), b""),
    "a device": (special("yes/zero", tarfile.CHRTYPE), b""),
    "a pipe": (special("yes/pipe", tarfile.FIFOTYPE), b""),
    "holes": (special("yes/holes.wav", tarfile.GNUTYPE_SPARSE), b"bad"),
    "an absolute name": ("/tmp/outside.wav", b"bad"),
    "a name outside": ("yes/../../outside.wav", b"bad"),
    "a name of Windows": ("yes\\..\\..\\outside.wav", b"bad"),
    "a long name": (f"yes/{'n' * 300}.wav", b"bad"),
    "twice": ("yes/a.wav", b"bad"),
    "twice by another way": ("yes/../yes/./a.wav", b"bad"),
    "twice but for capitals": ("YES/A.wav", b"bad"),
    "a folder in the place of a file": (special("yes/a.wav", tarfile.DIRTYPE), b""),
    "escape sequences": (special("yes/\x1b[31m", tarfile.SYMTYPE, "\x1b[0m"), b""),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_a_member_that_is_no_file_of_its_own_is_refused(server, dest, tmp_path, member):
    content = tar_gz(("yes/a.wav", b"good"), member)
    server.answers["any"] = answer(f"Content-Length: {len(content)}\r\n", content)
    assert_refused(run(dest, server.url, content), "is refused, nothing was unpacked")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_packed_archive_of_any_size_is_refused(server, dest, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    content = tar_gz(*((f"yes/{number}.wav", bytes(300_000)) for number in range(5)))
    server.answers["any"] = answer(f"Content-Length: {len(content)}\r\n", content)
    assert len(content) < 10_000
    assert_refused(run(dest, server.url, content), "unpacks to more than 1,000,000 bytes")
    assert list(dest.parent.iterdir()) == []


def test_more_files_than_anybody_records_are_refused(server, dest, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES", 10)
    content = tar_gz(*((f"yes/{number}.wav", b"") for number in range(12)))
    server.answers["any"] = answer(f"Content-Length: {len(content)}\r\n", content)
    assert_refused(run(dest, server.url, content), "one file too many")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_any_size_is_not_read(server, dest, kind):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 1 << 30
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))  # as if a gigabyte followed
    server.answers["any"] = answer(f"Content-Length: {len(content)}\r\n", content)
    assert_refused(run(dest, server.url, content), "is broken, nothing was unpacked: ", "header")


@pytest.mark.parametrize("place", ["n" * 250, "n" * 300, "file/below", "loop", "~nobody-of-this-name/x"])
def test_a_place_that_cannot_be_is_known_before_the_download(server, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    server.answers["any"] = answer(f"Content-Length: {len(GOOD)}\r\n")
    dest = place if place.startswith("~") else tmp_path / place
    assert_refused(run(dest, server.url))
    assert server.asked == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "marker",
    ["[" * 100_000, '{"sha256": "x", "files": 1e999}', f'{{"sha256": "x", "files": {"9" * 5000}}}', "[]", "\0", "null"],
    ids=lambda text: text[:12],
)
def test_a_marker_that_somebody_wrote_is_no_marker(dest, marker):
    dest.mkdir(parents=True)
    (dest / module.MARKER).write_text(marker)
    assert_refused(run(dest, "http://127.0.0.1:1/x"), "isn't an empty folder")
