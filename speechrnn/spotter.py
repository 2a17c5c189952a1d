"""A Spotter: the stream of a model and a detector behind it, for sound that never ends."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from speechrnn.decision import Detection, Detector
from speechrnn.pcm import checked

if TYPE_CHECKING:
    from speechrnn.model import Model


class Spotter(Detector):
    """Finds words in sound that never ends: any number of samples at a time in, detections out.

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
        """Forget everything: sound not yet used, the network's state, and what the detector knows. Time starts at 0."""
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
