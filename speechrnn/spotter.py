"""Spotter: the stream of a model and a detector behind it, for sound that never ends."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from speechrnn.decision import Detection, Detector
from speechrnn.pcm import checked

if TYPE_CHECKING:
    from speechrnn.model import Model

T = TypeVar("T")


class Spotter(Detector):
    """Detects words in sound that never ends, given any number of samples at a time.

    A `Detector` with a `Stream` in front: the network turns samples into posteriors, and the detector decides as its
    documentation says. Detections don't depend on how the sound is cut into pieces. After each call of `process` or
    `finish`, `near_misses` has the words that came close and were not detected.

    Spotters of one model are independent of each other, also in several threads; one of them belongs to one sound.

    Parameters
    ----------
    model : Model
    threshold : number in (0, 1], or None
        for all words, instead of the card's
    thresholds : mapping of word to number in (0, 1]
        for single words; stands above `threshold`
    words : words to listen for, or None for all
    smoothing_seconds : number from 0 to 10, or None for the card's
        posteriors are averaged over this time
    refractory_seconds : number from 0 to 3600, or None for the card's
        after a detection, nothing is detected for this time
    hysteresis : number from 0 to 1, or None for the card's
        share of its threshold that a word must fall below before it can be detected again

    Raises
    ------
    InputError
        if a word isn't one of the model's, or a number is out of its range

    Examples
    --------
    >>> import numpy as np, speechrnn
    >>> spotter = speechrnn.Spotter(speechrnn.load(), words=["yes", "no"])
    >>> spotter.process(np.zeros(16_000, np.float32))
    []
    """

    def __init__(
        self,
        model: "Model",
        threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        words: Iterable[str] | None = None,
        smoothing_seconds: float | None = None,
        refractory_seconds: float | None = None,
        hysteresis: float | None = None,
    ) -> None:
        self._stream = model.stream()
        super().__init__(model.card, threshold, thresholds, words, smoothing_seconds, refractory_seconds, hysteresis)

    def reset(self) -> None:
        """Start a new sound: no samples kept, the zero state, a detector that has been reset. Time starts at 0."""
        super().reset()
        self._stream.reset()
        self._rest = np.zeros(0, np.float32)

    def process(self, samples: np.ndarray) -> list[Detection]:
        """Detections in the next samples, float32 mono 16 kHz [samples], any number.

        Raises
        ------
        speechrnn.errors.AudioError
            if they aren't floats, hold NaN, or have another shape; the spotter stays as it was
        """
        return self.decide(self.posteriors(samples))

    def finish(self) -> list[Detection]:
        """Detections at the end of the sound: in what is left of it and the digital silence of `ending`."""
        found = self.process(self.ending())
        self.end()
        return found

    async def detections(self, pieces: Iterable[np.ndarray] | AsyncIterable[np.ndarray]) -> AsyncIterator[Detection]:
        """Detections in sound that comes piece by piece, for asyncio programs.

        The network runs in a thread, and so does an iterable that isn't asynchronous, as it may wait for its sound: the
        event loop stays free. Cancelling ends both before the `CancelledError` is raised, at most one piece later.

        Parameters
        ----------
        pieces : asynchronous or other iterable of arrays [samples], float32 mono 16 kHz
            such as a `speechrnn.microphone.Microphone`, or `speechrnn.audio.blocks` of a file

        Yields
        ------
        Detection
            in the piece in which the word reaches its threshold; after the last piece, those of `finish`

        Raises
        ------
        speechrnn.errors.AudioError
            as `process`, and what `pieces` raises

        Examples
        --------
        >>> import asyncio, speechrnn
        >>> from speechrnn import audio
        >>> async def main():
        ...     spotter = speechrnn.Spotter(speechrnn.load())
        ...     return [found.label async for found in spotter.detections(audio.blocks("examples/yes.wav"))]
        >>> asyncio.run(main())
        ['yes']
        """
        async for samples in pieces if isinstance(pieces, AsyncIterable) else _from_thread(pieces):
            for detection in await _in_thread(partial(self.process, samples)):
                yield detection
        for detection in await _in_thread(self.finish):
            yield detection

    def ending(self) -> np.ndarray:
        """What `finish` appends: zeros [samples] that fill the last block, and the model's tail after it."""
        block = self.card.block_length
        return np.zeros(-len(self._rest) % block + self.card.tail_blocks * block, np.float32)

    def posteriors(self, samples: np.ndarray) -> np.ndarray:
        """The first half of `process`: posteriors [blocks, labels] of the blocks that the next samples complete.

        `decide` is the other half. Who keeps the posteriors can decide again, with other thresholds.
        """
        samples, block = np.concatenate([self._rest, checked(samples)]), self.card.block_length
        whole = len(samples) // block * block
        self._rest = samples[whole:].copy()
        if not whole:
            return np.zeros((0, len(self.card.labels)), np.float32)
        return self._stream.process(samples[None, :whole])[0]


async def _from_thread(pieces: Iterable[T]) -> AsyncIterator[T]:
    """The items of an iterable, each waited for in a thread."""
    iterator = iter(pieces)
    while (item := await _in_thread(partial(next, iterator, None))) is not None:
        yield item


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns; whoever is cancelled meanwhile is so when it is done, and nothing runs on unseen."""
    import asyncio

    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        raise
