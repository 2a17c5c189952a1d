"""Bytes that come through a pipe: looked at before they are taken, and cut where one sound ends and another begins."""

import os
import re
from collections.abc import Iterator
from typing import Any

from speechrnn.signatures import ENOUGH, frames_follow, mpeg_frame, tag_length

PIECE_BYTES = 65_536  # read at a time, at most; a pipe gives what it has


class Pipe:
    """Bytes in the order in which they come; the next can be looked at before they are taken."""

    def __init__(self, file: Any) -> None:
        try:
            number = file.fileno()
            self._next = lambda: os.read(number, PIECE_BYTES)  # without the lock of a file that a thread may hold
        except (AttributeError, OSError):  # there is none behind it
            self._next = lambda: file.read(PIECE_BYTES)
        self._ahead = b""

    def peek(self, count: int) -> bytes:
        """The next `count` bytes; fewer only at the end."""
        while len(self._ahead) < count and (more := self._next()):
            self._ahead += more
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """Take the next `count` bytes; fewer only at the end."""
        content = self.peek(count)
        self._ahead = self._ahead[len(content) :]
        return content

    def read_some(self, count: int) -> bytes:
        """Take what there is, one byte at least and `count` at most; none at the end."""
        self.peek(1)
        return self.read(min(count, len(self._ahead)))

    def put_back(self, content: bytes) -> None:
        """The next bytes are these again."""
        self._ahead = content + self._ahead

    def until(self, start: re.Pattern[bytes], length: int) -> Iterator[bytes]:
        """All up to the next place, after this one, where `length` bytes match."""
        yield self.read(1)
        while len(self.peek(length)) == length:
            found = start.search(self._ahead)
            end = found.start() if found else len(self._ahead) - length + 1
            if end:
                yield self.read(end)
            if found:
                return
        yield self.read(length)

    def ogg_stream(self) -> Iterator[bytes]:
        """The pages (RFC 3533, section 6) up to where another sound begins."""
        begun = False
        while (header := self.peek(27))[:4] == b"OggS" and len(header) == 27:
            is_first = bool(header[5] & 2)
            if begun and is_first:
                return
            begun = begun or not is_first
            table = self.peek(27 + header[26])[27:]
            yield self.read(27 + len(table) + sum(table))
        yield from self.rest()

    def mpeg_stream(self) -> Iterator[bytes]:
        """The frames up to where another file begins: by its tag, or by a header that counts its frames."""
        begun = in_step = False
        while header := self.peek(10):
            length = mpeg_frame(header[:4])
            if length and (in_step or frames_follow(self.peek(ENOUGH))):
                if begun and any(name in self.peek(min(64, length)) for name in (b"Xing", b"Info", b"VBRI")):
                    return
                yield self.read(length)
                begun = in_step = True
            elif tag_length(header) and begun:
                return
            else:  # a tag at the end, padding, or a frame whose beginning was missed
                self.read(max(1, tag_length(header)))
                self.read(max(0, self._ahead.find(b"\xff")) if b"\xff" in self._ahead else len(self._ahead))
                in_step = False

    def rest(self) -> Iterator[bytes]:
        """All that comes."""
        while content := self.read_some(PIECE_BYTES):
            yield content
