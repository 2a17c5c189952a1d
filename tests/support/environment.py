"""What the machine has: the recordings beside the checkout, and programs."""

import os
import shutil
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def needs(*programs):
    """The path of the first of these programs; skips without any, but not in CI."""
    path = next(filter(None, map(shutil.which, programs)), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {programs[0]}")
    return path
