"""Model: an ONNX file with its card, run on whole sounds. Stream: the same network block by block."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechrnn import audio, card, decision
from speechrnn.channels import Channel
from speechrnn.decision import Classification
from speechrnn.errors import AudioError, ModelError, first_line
from speechrnn.inference import RunOptions, Session, session
from speechrnn.pcm import checked
from speechrnn.protobuf import unfit_node

DEFAULT_MODEL = "gru-12"
MAX_CLIP_SECONDS = 60.0  # one label is of no use for an hour
MIN_CLIP_SECONDS = 0.05
OUTPUTS = ["probabilities", "next_state"]
MOST_BYTES = 2**27  # of a file; ours have less than 2 MB
LOAD_SECONDS = 5.0  # of computing; a small computer needs half a second
LONGEST_LOAD_SECONDS = 60.0  # however busy the machine is
WEIGHTS_ELSEWHERE = b"\n\x08location"  # begins the entry that names the file with a tensor's numbers
WAITING = 3  # clips of `classify_many` that are drawn, for each worker
PIECE_BLOCKS = 250  # sound runs through the graph in pieces of 5 s over all of a batch, so that memory stays bounded

if TYPE_CHECKING:
    from concurrent.futures import Future

Sound = audio.Source | np.ndarray


class Stream:
    """The network on a sound that comes block by block; its state is carried along."""

    def __init__(self, model: "Model", batch: int = 1) -> None:
        self._model, self._batch = model, batch
        self._piece = max(1, PIECE_BLOCKS // batch) * model.card.block_length
        self.reset()

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of what `process` returns."""
        return self._model.labels

    def reset(self) -> None:
        """Start a new sound, from the zero state."""
        self._state = np.zeros((self._batch, self._model.card.state_size), np.float32)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Posteriors [batch, blocks, labels] of the next samples, float [batch, blocks * block_length].

        Row t is known at the end of block t.

        Raises
        ------
        speechrnn.errors.AudioError
            if they aren't floats, hold NaN, or have another shape; the state stays as it was
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
        probabilities, self._state = self._model.run(samples, self._state)
        return probabilities


class Model:
    """A trained recogniser.

    It can be pickled, for the workers of a process pool, and then carries its bytes with it. Threads may share one.

    Parameters
    ----------
    source : path of an ONNX file, bytes of one, or name of a shipped model (gru-12, gru-12-small); None for gru-12
    name : str, or None for the path
        what messages call it

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

    def __init__(self, source: str | os.PathLike[str] | bytes | None = None, *, name: str | None = None) -> None:
        self.path: Path | None = None  # of the file; None for one that was given as bytes
        if not isinstance(source, bytes):
            self.path = shipped(DEFAULT_MODEL) if source is None else located(source)
        self.name = name or str(self.path or "<bytes>")
        self.content = source if isinstance(source, bytes) else b""
        self.session, self.card = self._in_time(self._load)

    def __reduce__(self) -> tuple[Callable[..., "Model"], tuple[Any, ...]]:
        return _unpickled, (self.content, self.name, self.path, self.card)

    def _load(self, options: RunOptions) -> tuple[Session, card.Card]:
        """The session of the graph, tried out on a little silence, and the checked card."""
        try:
            if self.path is not None:
                with open(self.path, "rb") as file:
                    self.content = file.read(MOST_BYTES + 1)
        except (OSError, ValueError) as error:  # a NUL in a name is no OSError
            reason = getattr(error, "strerror", None) or error
            raise ModelError(f"{self.name}: can't be read ({reason}): name an ONNX file of speechrnn") from None
        if len(self.content) > MOST_BYTES:
            raise ModelError(f"{self.name}: has more than {MOST_BYTES / 1e6:.0f} MB: name an ONNX file of speechrnn")
        if WEIGHTS_ELSEWHERE in self.content:
            raise ModelError(f"{self.name}: has weights in another file: put them into this one")
        try:
            if unfit := unfit_node(self.content):
                raise ValueError(unfit)
            loaded = session(self.content)
        except Exception as error:  # onnxruntime's exceptions have no common class of their own
            raise ModelError(f"{self.name}: is not an ONNX model that can be run ({first_line(error)})") from None
        try:
            metadata = loaded.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError:
            raise ModelError(f"{self.name}: its model card is not UTF-8: export the model again") from None
        if card.METADATA_KEY not in metadata:
            raise ModelError(f"{self.name}: carries no speechrnn model card: make it with speechrnn export")
        described = card.from_json(metadata[card.METADATA_KEY], self.name)
        self._check_graph(loaded, described)
        self._try_out(loaded, described, options)
        return loaded, described

    def _in_time(self, work: Callable[[RunOptions], tuple[Session, card.Card]]) -> tuple[Session, card.Card]:
        """What `work` gives, unless it takes too long: a graph can be small and compute for ever."""
        done: list[tuple[Session, card.Card] | Exception] = []
        options = RunOptions()

        def run() -> None:
            try:
                done.append(work(options))
            except Exception as error:
                done.append(error)

        thread = threading.Thread(target=run, daemon=True)
        began, computed = time.monotonic(), time.process_time()
        thread.start()
        try:
            thread.join(LOAD_SECONDS)
            while not done and time.process_time() - computed < LOAD_SECONDS:
                if time.monotonic() - began > LONGEST_LOAD_SECONDS:
                    break
                thread.join(0.1)
            late = not done
        finally:  # also when the user has had enough: a thread that comes back while Python ends is fatal
            options.terminate = True  # between two nodes of a run
            thread.join(1.0)
        if late:
            raise ModelError(f"{self.name}: isn't ready after {LOAD_SECONDS:g} s: take a smaller model")
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]

    def _check_graph(self, loaded: Session, described: card.Card) -> None:
        """The inputs, outputs and sizes of the graph must be those of the card."""
        inputs = {i.name: i for i in loaded.get_inputs()}
        outputs = {o.name: o for o in loaded.get_outputs()}
        if (set(inputs), set(outputs)) != ({"audio", "state"}, set(OUTPUTS)):
            raise ModelError(f"{self.name}: its graph has other inputs or outputs than audio, state: export it again")
        if any(value.type != "tensor(float)" for value in (*inputs.values(), *outputs.values())):
            raise ModelError(f"{self.name}: its graph takes or gives other numbers than float32: export it again")
        sizes = inputs["state"].shape[-1:], outputs["probabilities"].shape[-1:]
        if sizes != ([described.state_size], [len(described.labels)]):
            raise ModelError(f"{self.name}: its graph doesn't fit its model card: export it again")

    def _try_out(self, loaded: Session, described: card.Card, options: RunOptions) -> None:
        """Run the graph on one block of silence, then on two: one that loads may fail, or give no probabilities."""
        state = np.zeros((1, described.state_size), np.float32)
        for blocks in (1, 2):
            audio = np.zeros((1, blocks * described.block_length), np.float32)
            try:
                probabilities, following = loaded.run(OUTPUTS, {"audio": audio, "state": state}, options)
            except Exception as error:
                raise ModelError(f"{self.name}: its graph doesn't run ({first_line(error)}): export it again") from None
            if probabilities.shape != (1, blocks, len(described.labels)) or following.shape != state.shape:
                raise ModelError(
                    f"{self.name}: its graph doesn't give a row for each block and a state: export it again"
                )
            sums = probabilities.sum(axis=-1)
            if not (np.abs(sums - 1.0) < 1e-3).all() or probabilities.min() < 0.0 or not np.isfinite(following).all():
                raise ModelError(f"{self.name}: what its graph gives are no probabilities: export it again")
            state = following

    def run(self, samples: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the graph once.

        Parameters
        ----------
        samples : float32 array [batch, blocks * block_length]
        state : float32 array [batch, state_size]

        Returns
        -------
        posteriors : float32 array [batch, blocks, labels]
        state : float32 array [batch, state_size]
            after the last block

        Raises
        ------
        ModelError
            if the graph fails, as a foreign one may on sound that it wasn't tried on
        """
        try:
            probabilities, following = self.session.run(OUTPUTS, {"audio": samples, "state": state})
        except Exception as error:
            raise ModelError(f"{self.name}: its graph doesn't run ({first_line(error)})") from None
        return probabilities, following

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def stream(self, batch: int = 1) -> Stream:
        """A `Stream` for `batch` sounds side by side, each of which comes block by block."""
        return Stream(self, batch)

    def posteriors(self, samples: np.ndarray) -> np.ndarray:
        """Posteriors [blocks, labels] of a sound [samples] and of the tail of digital silence after it.

        The sound starts from a fresh state; what is left of its last block is silence too.
        """
        block = self.card.block_length
        blocks = -(-len(samples) // block) + self.card.tail_blocks
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
        """Labels of many clips, in order, on all cores; where a clip can't be used, its error instead.

        The sounds are drawn as their turn comes, a few ahead for each worker, so that memory stays bounded.

        Parameters
        ----------
        sounds : sounds as `classify` takes them
        workers : number of threads, or None for one on each core
        channel : int from 1, "mean" or "loudest"
        """
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

        pool = ThreadPoolExecutor(workers)
        waiting: deque[Future[Classification | AudioError]] = deque()
        try:
            for sound in sounds:
                waiting.append(pool.submit(one, sound))
                if len(waiting) == WAITING * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def decide(self, posteriors: np.ndarray) -> Classification:
        """The label of a clip, from its `posteriors` [blocks, labels]."""
        return decision.classify(self.card, posteriors)


def _unpickled(content: bytes, name: str, path: Path | None, described: card.Card) -> Model:
    model = Model(content, name=name)
    model.path, model.card = path, described
    return model


def shipped(name: str) -> Path:
    """The file of a model in the package, whether there is one or not."""
    return Path(__file__).with_name("models") / f"{name}.onnx"


def located(model: str | os.PathLike[str]) -> Path:
    """The path of a model: of one of the package by its name, without a suffix, or of any other by its path."""
    path = Path(model)
    is_name = str(path) == path.name and not os.path.isfile(path)  # Path.is_file raises for a name that is too long
    return shipped(path.name) if is_name and os.path.isfile(shipped(path.name)) else path
