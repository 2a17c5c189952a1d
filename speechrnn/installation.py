"""How this package came to be installed, and so what to type for an extra of it."""

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname


def install_command(extra: str) -> str:
    """The command that adds the packages of an extra ("plot", "train") to this installation.

    It names the checkout, wheel or repository that this one was installed from (PEP 610): by its name alone, pip would
    take whatever stands under that name on an index, unless it was from there that this one came.
    """
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():  # editable, or not installed at all
        return _pip(f"{checkout}[{extra}]")
    try:
        origin = json.loads(distribution("speechrnn").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    url = origin.get("url", "")
    if url.startswith("file:"):
        path = url2pathname(unquote(urlsplit(url).path))
        return _pip(f"{path}[{extra}]") if Path(path).exists() else f"{_pip(f'.[{extra}]')} in a checkout of speechrnn"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return _pip(f"speechrnn[{extra}] @ {url}" if url else f"speechrnn[{extra}]")


def _pip(requirement: str) -> str:
    return f"pip install {shlex.quote(requirement)}"
