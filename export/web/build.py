"""Build the web page of a model: a folder for any web server, with the page, the model and onnxruntime-web.

The page is plain JavaScript modules and comes as it is. onnxruntime-web comes from npm, in the version that
`package.json` names. The folder is made beside its place and renamed, so that it is whole or not there.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError
from speechrnn.model import Model
from speechrnn.programs import ModelOption, report_errors, say

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = HERE / "page"
PACKAGE = "onnxruntime-web"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LIST = "files.js"  # what the service worker keeps; also how an earlier build is known, whole and unchanged
NOTICES = ("LICENSE", "ATTRIBUTION.md")


def build(folder: Path, model: Model, runtime: Path) -> int:
    """Write the folder, or replace an earlier build there; returns its size in bytes.

    `runtime` is the directory of the npm package onnxruntime-web.

    Raises
    ------
    InputError
        if the place holds something else or can't be written, or the package isn't what is needed; then nothing changes
    """
    _check_place(folder)
    _check_runtime(runtime)
    try:
        with _beside(folder) as made:
            for path in PAGE.iterdir():
                shutil.copyfile(path, made / path.name)
            (made / "model.onnx").write_bytes(model.content)
            (made / "runtime").mkdir()
            for name in RUNTIME_FILES:
                shutil.copyfile(runtime / "dist" / name, made / "runtime" / name)
            for name in NOTICES:
                shutil.copyfile(ROOT / name, made / name)
            (made / LIST).write_text(_list_of_files(made), encoding="utf-8")
            made.chmod(0o755)  # a temporary folder is its owner's alone; a web server is somebody else
            size = sum(path.stat().st_size for path in made.rglob("*"))
    except OSError as error:
        raise InputError(f"{folder}: can't be written ({error.strerror}): name another place") from None
    return size


def _check_place(folder: Path) -> None:
    parent = folder.absolute().parent
    try:
        if not parent.is_dir():
            raise InputError(f"{folder}: there is no folder {parent}: make it first")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file: name a folder")
        if folder.is_dir() and any(folder.iterdir()) and not _is_earlier_page(folder):
            raise InputError(f"{folder}: holds something else than an earlier page, as it was built: name a new folder")
    except OSError as error:
        raise InputError(f"{folder}: can't be used ({error.strerror}): name another place") from None


def _is_earlier_page(folder: Path) -> bool:
    """Tell whether a folder holds what was built and nothing else: not a file more, fewer or changed."""
    try:
        return (folder / LIST).read_text(encoding="utf-8") == _list_of_files(folder)
    except (OSError, UnicodeDecodeError):
        return False


def _check_runtime(runtime: Path) -> None:
    """Refuse a package that is missing, incomplete, or of another version than the page was tested with."""
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"][PACKAGE]
    advice = f"install {PACKAGE}@{wanted} with npm, and name its folder in node_modules"
    try:
        package = json.loads((runtime / "package.json").read_text(encoding="utf-8"))
        found = package["name"], package["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--runtime {runtime}: is no folder of an npm package: {advice}") from None
    if found != (PACKAGE, wanted):
        raise InputError(f"--runtime {runtime}: is {'@'.join(map(str, found))}: {advice}")
    missing = [name for name in RUNTIME_FILES if not (runtime / "dist" / name).is_file()]
    if missing:
        raise InputError(f"--runtime {runtime}: lacks dist/{missing[0]}: {advice}")


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` if all goes well, and is gone otherwise."""
    made = Path(tempfile.mkdtemp(".part", f".{folder.name[:50]}.", folder.absolute().parent))
    replaced = made.with_name(made.name + ".old")
    try:
        yield made
        if folder.exists():
            os.replace(folder, replaced)
        try:
            os.replace(made, folder)
        except OSError:
            if replaced.exists():
                os.replace(replaced, folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _list_of_files(folder: Path) -> str:
    """JavaScript with the names of all files, and a version that is another one as soon as a file is."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / LIST)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    names = ["./", *(f"./{path.relative_to(folder).as_posix()}" for path in paths if path.name != "service_worker.js")]
    return f"const VERSION = {json.dumps(digest.hexdigest()[:16])};\nconst FILES = {json.dumps(names, indent=2)};\n"


@contextlib.contextmanager
def fetched_runtime() -> Iterator[Path]:
    """The directory of onnxruntime-web, fetched by npm into a temporary folder as package-lock.json says.

    Raises
    ------
    InputError
        if there is no npm, or it fails
    """
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm: is not on the path: install Node.js, or name the package's folder with --runtime")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, Path(folder) / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise InputError(f"npm: can't fetch {PACKAGE} ({lines[-1]}): try again, or name its folder with --runtime")
        yield Path(folder) / "node_modules" / PACKAGE


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To be made; an earlier page there is replaced")],
    model: ModelOption = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime",
            help="Directory of the npm package onnxruntime-web; left out, npm fetches it",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a page that spots words in the browser: a folder of static files, for any web server.

    Browsers give the microphone to pages from https:// or http://localhost only.

    Example: python -m export.web site && python -m http.server --directory site 8000
    """
    with report_errors(), contextlib.ExitStack() as stack:
        recogniser = Model(model)
        _check_place(folder)  # before npm is waited for
        if runtime is None:
            say(f"fetching {PACKAGE} with npm")
            runtime = stack.enter_context(fetched_runtime())
        size = build(folder, recogniser, runtime)
        typer.echo(f"{folder}: {size / 1e6:.1f} MB; serve it: python -m http.server --directory {folder} 8000")
