"""What several tests need: real recordings where they are at hand, and a place to work in."""

import contextlib
import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from speechrnn.evaluation.corpus import BACKGROUND
from speechrnn.evaluation.partition import partition

pytest.register_assert_rewrite("tests.support")
from tests.support.environment import SHARED, needs  # noqa: E402  what is rewritten is imported after it


def pytest_configure(config):
    """Each test process compiles librosa's functions into a place of its own.

    Processes that fill one cache at the same time can mix their files, and a call then crashes the interpreter
    (https://github.com/numba/numba/issues/10128).
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    os.environ["NUMBA_CACHE_DIR"] = str(config.cache.mkdir(f"numba-{worker}"))


# What takes long to make, or needs a sound server, npm, a wheel or all clips: what uses one of these is slow.
SLOW_FIXTURES = {
    "alone", "finished", "installed", "onnxruntime_web", "page", "shipped_int8", "sink", "site", "streamed",
    "validation_folder", "wheel",
}  # fmt: skip

# Whole files whose tests start programs, export networks or draw pictures again and again.
SLOW_FILES = {
    "test_calibrate", "test_export_examples", "test_kinds", "test_missing_packages", "test_quantize", "test_reach",
    "test_same_name", "test_synthesize", "test_tails", "test_to_c",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The second tier: `pytest -m slow`."""
    for item in items:
        if item.path.stem in SLOW_FILES or SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def validation_folder(tmp_path_factory):
    """The real clips of validation speakers, and background noise, in the Speech Commands layout."""
    source = SHARED / "speech_commands"
    if not source.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{source} is missing: CI skips nothing")
        pytest.skip("needs the recordings in ../shared/data, which a clone doesn't have")
    folder = tmp_path_factory.mktemp("speech_commands")

    def write(target, data):
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
        soundfile.write(target, samples, rate, format="WAV", subtype="PCM_16")

    with ThreadPoolExecutor() as pool:
        jobs = []
        for tar in sorted(source.glob("*.tar")):
            with tarfile.open(tar) as archive:
                for member in archive:
                    name = Path(member.name)
                    if member.isfile() and partition(name.name) == "validation":
                        target = (folder / name).with_suffix(".wav")
                        target.parent.mkdir(exist_ok=True)
                        jobs.append(pool.submit(write, target, archive.extractfile(member).read()))
        (folder / BACKGROUND).mkdir()
        for file in sorted((source / BACKGROUND).glob("*.flac")):
            jobs.append(pool.submit(write, folder / BACKGROUND / f"{file.stem}.wav", file.read_bytes()))
        for job in jobs:
            job.result()
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """For small tensors, where threads of torch only wait for each other; seeds set meanwhile don't leak."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def onnxruntime_web():
    """The directory of onnxruntime-web, fetched as the builder does it."""
    from export.web.build import fetched_runtime
    from speechrnn.errors import InputError

    needs("npm")
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(fetched_runtime())
        except InputError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield folder
