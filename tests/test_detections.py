"""Detections for asyncio programs: the same as without asyncio; the loop stays free, and the work can be ended."""

import asyncio
import contextlib
import threading
from pathlib import Path

import numpy as np
import pytest

import speechrnn
from speechrnn import audio
from speechrnn.errors import AudioError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WORDS = ("yes", "no", "left", "go", "stop")


@pytest.fixture(scope="module")
def sound():
    quiet = np.zeros(8_000, np.float32)
    return np.concatenate([part for word in WORDS for part in (audio.load(EXAMPLES / f"{word}.wav"), quiet)])


@pytest.fixture
def spotter():
    return speechrnn.Spotter(speechrnn.load(), threshold=0.5)


def pieces_of(sound, size=1_600):
    return [sound[start : start + size] for start in range(0, len(sound), size)]


async def over_a_network(sound):
    for piece in pieces_of(sound):
        await asyncio.sleep(0)
        yield piece


async def all_of(spotter, pieces):
    return [detection async for detection in spotter.detections(pieces)]


@pytest.mark.parametrize("source", [over_a_network, pieces_of, lambda sound: iter([sound])])
def test_detections_are_those_of_process(spotter, sound, source):
    expected = spotter.process(sound) + spotter.finish()
    spotter.reset()
    assert [d.label for d in expected] == list(WORDS)
    assert asyncio.run(all_of(spotter, source(sound))) == expected


def test_detections_come_while_the_sound_goes_on(spotter, sound):
    async def first():
        given = 0

        async def pieces():
            nonlocal given
            async for piece in over_a_network(sound):
                given += len(piece)
                yield piece

        async with contextlib.aclosing(spotter.detections(pieces())) as found:
            async for detection in found:
                return detection, given / 16_000

    detection, seconds = asyncio.run(first())
    assert detection.label == "yes"
    assert detection.time <= seconds < detection.time + 0.2


def test_the_loop_is_free_while_the_network_and_the_source_are_at_work(spotter, sound):
    """The source waits, within its thread, for something that the loop does."""
    done, threads = threading.Event(), set()

    def pieces():
        threads.add(threading.get_ident())
        assert done.wait(60)
        yield sound

    async def both():
        hearing = asyncio.ensure_future(all_of(spotter, pieces()))
        await asyncio.sleep(0.01)
        done.set()
        return await hearing

    assert len(asyncio.run(both())) == len(WORDS)
    assert threading.get_ident() not in threads


def test_two_sounds_can_be_heard_at_the_same_time(spotter, sound):
    other = speechrnn.Spotter(speechrnn.load(), threshold=0.5)

    async def both():
        return await asyncio.gather(all_of(spotter, pieces_of(sound)), all_of(other, over_a_network(sound)))

    one, two = asyncio.run(both())
    assert one == two
    assert len(one) == len(WORDS)


def test_whoever_is_cancelled_leaves_nothing_running_and_can_start_afresh(spotter, sound):
    begun, running = threading.Event(), threading.Event()
    process = spotter.process

    def slow(samples):
        running.set()
        begun.set()
        try:
            return process(samples)
        finally:
            running.clear()

    async def stopped():
        spotter.process = slow
        hearing = asyncio.ensure_future(all_of(spotter, pieces_of(sound, len(sound))))
        await asyncio.to_thread(begun.wait, 60)
        hearing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hearing
        assert not running.is_set()
        del spotter.process
        spotter.reset()
        return await all_of(spotter, [sound])

    assert [d.label for d in asyncio.run(stopped())] == list(WORDS)


def test_what_is_wrong_with_the_sound_is_raised(spotter):
    with pytest.raises(AudioError, match="int16"):
        asyncio.run(all_of(spotter, [np.zeros(320, np.int16)]))
    with pytest.raises(AudioError, match=r"missing\.wav"):
        asyncio.run(all_of(spotter, audio.blocks("missing.wav")))
