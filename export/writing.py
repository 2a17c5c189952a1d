"""How a file is put in its place: whole or not at all."""

import contextlib
import os
from pathlib import Path

from speechrnn.errors import ModelError


def write(path: Path, content: bytes) -> None:
    """Write beside, then rename.

    Raises
    ------
    ModelError
        if the file can't be written; then none is left, and an older one stays as it was
    """
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as failure:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise ModelError(f"{path}: can't be written ({failure.strerror}): name another place") from None
