"""An ONNX file and its card; sound flows in, posteriors and labels flow out."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from speechrnn import audio, card, spotter
from speechrnn.channels import Channel
from speechrnn.errors import AudioError, ModelError, first_line
from speechrnn.pcm import checked

DEFAULT_MODEL = "gru-12"
MAX_CLIP_SECONDS = 60.0  # one label says nothing about an hour
MIN_CLIP_SECONDS = 0.05
OUTPUTS = ["probabilities", "next_state"]
PIECE_BLOCKS = 250  # long sound runs through the graph in pieces of 5 s, so that memory stays bounded

Sound = audio.Source | np.ndarray


@dataclass(frozen=True)
class Classification:
    """What was heard in a clip."""

    label: str
    probability: float
    posterior: dict[str, float]  # of every label, most probable first


class Stream:
    """The network's ear on one sound: blocks in, posteriors out, the state carried from block to block."""

    def __init__(self, model: "Model", batch: int = 1) -> None:
        self._model, self._batch = model, batch
        self._piece = PIECE_BLOCKS * model.card.block_length
        self.reset()

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of what `process` returns."""
        return self._model.labels

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._state = np.zeros((self._batch, self._model.card.state_size), np.float32)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Posteriors [batch, blocks, labels] of the next samples, float [batch, blocks * block_length].

        Row t is known at the end of block t.

        Raises
        ------
        speechrnn.errors.AudioError
            if they aren't floats, hold NaN, or have another shape; what was heard so far stays as it was
        """
        samples = checked(samples, axes=2)
        if len(samples) != self._batch or samples.shape[1] % self._model.card.block_length or not samples.size:
            wanted = f"[{self._batch}, a multiple of {self._model.card.block_length}]"
            raise AudioError(
                f"array: has shape {samples.shape}: give {wanted}, or use a Spotter, which takes any length"
            )
        if samples.shape[1] <= self._piece:
            return self._run(samples)
        pieces = range(0, samples.shape[1], self._piece)
        return np.concatenate([self._run(samples[:, start : start + self._piece]) for start in pieces], axis=1)

    def _run(self, samples: np.ndarray) -> np.ndarray:
        probabilities, self._state = self._model.session.run(OUTPUTS, {"audio": samples, "state": self._state})
        return probabilities


class Model:
    """A trained recogniser.

    Parameters
    ----------
    path : path of an ONNX file, or name of a shipped model (gru-12, gru-12-small), or None for gru-12

    Raises
    ------
    speechrnn.errors.ModelError
        if the file is missing, broken, foreign (no model card), or doesn't fit its own card

    Examples
    --------
    >>> import speechrnn
    >>> speechrnn.load().card.words[:2]
    ('yes', 'no')
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = shipped(DEFAULT_MODEL) if path is None else located(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more threads spin between blocks and gain nothing on a net of this size
        options.log_severity_level = 4  # errors come as exceptions
        try:
            content = self.path.read_bytes()
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise ModelError(f"{self.path}: can't be read ({error.strerror}): name an ONNX file of speechrnn") from None
        except Exception as error:  # onnxruntime's exceptions have no common class of their own
            raise ModelError(f"{self.path}: is not an ONNX model that can be run ({first_line(error)})") from None
        metadata = self.session.get_modelmeta().custom_metadata_map
        if card.METADATA_KEY not in metadata:
            raise ModelError(f"{self.path}: carries no speechrnn model card: make it with python -m export.to_onnx")
        self.card = card.from_json(metadata[card.METADATA_KEY], str(self.path))
        self._check_graph()

    def _check_graph(self) -> None:
        """The card and the graph must speak of the same thing."""
        inputs = {i.name: i.shape for i in self.session.get_inputs()}
        outputs = {o.name: o.shape for o in self.session.get_outputs()}
        expected = {"audio", "state"}, {"probabilities", "next_state"}
        if (set(inputs), set(outputs)) != expected:
            raise ModelError(f"{self.path}: its graph has other inputs or outputs than audio, state: export it again")
        if inputs["state"][-1:] != [self.card.state_size] or outputs["probabilities"][-1:] != [len(self.card.labels)]:
            raise ModelError(f"{self.path}: its graph doesn't fit its model card: export it again")

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def stream(self, batch: int = 1) -> Stream:
        """A fresh ear for sound that comes block by block; `batch` sounds side by side."""
        return Stream(self, batch)

    def posteriors(self, samples: np.ndarray) -> np.ndarray:
        """Posteriors [blocks, labels] of a sound [samples] and of the tail of digital silence after it.

        The sound starts from a fresh state; what is left of its last block is silence too.
        """
        block = self.card.block_length
        blocks = -(-len(samples) // block) + self.card.blocks(self.card.tail_seconds)
        whole = np.zeros((1, blocks * block), np.float32)
        whole[0, : len(samples)] = samples
        return self.stream().process(whole)[0]

    def classify(self, sound: Sound, channel: Channel = "mean") -> Classification:
        """One label for a clip.

        Parameters
        ----------
        sound : path, bytes, binary file object, or float array [samples] at 16 kHz
        channel : int from 1, "mean" or "loudest"
            which channel of a file is taken; see `speechrnn.channels.Mixer`

        Raises
        ------
        speechrnn.errors.AudioError
            if the sound can't be read, holds NaN, or is shorter than 0.05 s or longer than 60 s
        """
        return self.decide(self.posteriors(self.load_clip(sound, channel)))

    def load_clip(self, sound: Sound, channel: Channel = "mean") -> np.ndarray:
        """A clip as float32 [samples] at 16 kHz, checked as `classify` says."""
        if isinstance(sound, np.ndarray):
            samples, name = checked(sound), "array"
            if len(samples) > MAX_CLIP_SECONDS * audio.SAMPLE_RATE:
                raise AudioError(f"array: is longer than {MAX_CLIP_SECONDS:g} s, too long for one label: cut it first")
        else:
            samples = audio.load(sound, max_seconds=MAX_CLIP_SECONDS, channel=channel)
            name = audio.source_name(sound)
        if len(samples) < MIN_CLIP_SECONDS * audio.SAMPLE_RATE:
            seconds = len(samples) / audio.SAMPLE_RATE
            raise AudioError(
                f"{name}: is {seconds:.4f} s long, too short for a word: give at least {MIN_CLIP_SECONDS} s"
            )
        return samples

    def classify_many(
        self, sounds: Iterable[Sound], workers: int | None = None, channel: Channel = "mean"
    ) -> Iterator[Classification | AudioError]:
        """Labels of many clips, in order, on all cores; where a clip can't be used, its error instead."""
        workers = workers or os.cpu_count() or 1

        def one(sound: Sound) -> Classification | AudioError:
            try:
                return self.classify(sound, channel)
            except AudioError as error:
                return error

        if workers == 1:
            yield from map(one, sounds)
            return
        from concurrent.futures import ThreadPoolExecutor  # here, because one clip doesn't need it

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(one, sounds)

    def decide(self, posteriors: np.ndarray) -> Classification:
        """The label of a clip, from its `posteriors` [blocks, labels]: what it says at its clearest moment.

        That is where the smoothed posterior of a label other than silence is highest.
        """
        smoothed = spotter.clearest(posteriors, self.labels, self.card.blocks(self.card.smoothing_seconds))
        order = np.argsort(-smoothed, kind="stable")
        posterior = {self.labels[i]: float(smoothed[i]) for i in order}
        label = next(iter(posterior))
        return Classification(label, posterior[label], posterior)


def shipped(name: str) -> Path:
    """The file of a model in the package, whether there is one or not."""
    return Path(__file__).with_name("models") / f"{name}.onnx"


def located(model: str | os.PathLike[str]) -> Path:
    """The file that is meant: one of the package by its name, without a suffix, or any other by its path."""
    path = Path(model)
    is_name = str(path) == path.name and not path.is_file()
    return shipped(path.name) if is_name and shipped(path.name).exists() else path
