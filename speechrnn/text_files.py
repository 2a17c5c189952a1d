"""Text files that people write or edit, read whole: settings, plans, lists."""

import os
import stat
from pathlib import Path

from speechrnn.errors import InputError

MOST_BYTES = 1 << 26  # a list of a million clips


def read(path: Path, remedy: str, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8, with or without the mark that Windows puts in front of it.

    Parameters
    ----------
    path : Path
    remedy : str
        ends the message: what to give instead
    most_bytes : int
        larger files are refused, and none of it is kept

    Raises
    ------
    InputError
        naming the file, if it isn't there, is no regular file (which may never end), is too large or is no text
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{path}: can't be read (it is not a file): {remedy}")
        with open(path, "rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"{path}: is larger than {most_bytes:,} bytes: {remedy}")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}): {remedy}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8 ({error.reason} at byte {error.start}): {remedy}") from None
    except InputError:
        raise
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{str(path)!r}: can't be read ({error}): {remedy}") from None
