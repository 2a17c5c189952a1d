"""python -m data_scripts.hints CONFIG MODELS OUT.npz: embeddings of clips for feature distillation (`data.hints`).

The network is Google's speech embedding (Lin et al. 2020, "Training keyword spotters with limited and synthesized
speech data", arXiv:2002.01322; Apache-2.0), trained on far more recordings. It and its mel spectrogram are
embedding_model.onnx and melspectrogram.onnx of the openwakeword package, 0.4 or 0.5:

    pip download --no-deps openwakeword==0.5.0
    python -m zipfile -e openwakeword-0.5.0-py3-none-any.whl .
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import InputError, first_line
from speechrnn.evaluation import corpus
from speechrnn.files import check_writable, write
from speechrnn.inference import Session, session
from speechrnn.programs import report_errors
from speechrnn.progress import with_progress
from speechrnn.training import config as settings
from speechrnn.training.audio_pool import AudioPool
from speechrnn.training.feature_distillation import EMBEDDING_SIZE, digests

PADDING = 6_000  # samples before and behind a clip, so that its beginning and its end fill windows too
FRAME, FRAME_HOP, WINDOW, WINDOW_HOP = 400, 160, 76, 8  # of a frame, in samples; of an embedding, in frames
MEL, EMBEDDING = "melspectrogram.onnx", "embedding_model.onnx"


def of_any_length(model: onnx.ModelProto) -> onnx.ModelProto:
    """The embedding network for input [1, 1, frames, 32], with one output per window: the original takes one window."""
    graph = model.graph
    if len(graph.node) < 3 or {graph.node[0].op_type, graph.node[-1].op_type} != {"Reshape"}:
        raise InputError(f"{EMBEDDING}: is not the speech embedding that openwakeword 0.4 and 0.5 come with")
    first, *layers, last = graph.node
    ends = ((first.output[0], (1, 1, "frames", 32)), (last.input[0], (1, EMBEDDING_SIZE, "windows", 1)))
    given, made = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in ends)
    whole = onnx.helper.make_graph(layers, graph.name, [given], [made], graph.initializer)
    return onnx.helper.make_model(whole, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def teacher(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function of a clip int16 [samples] that gives its embeddings float32 [moments, EMBEDDING_SIZE]."""

    def changed(name: str, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Session:
        path = folder / name
        try:
            return session(change(onnx.load(path)).SerializeToString())
        except InputError:
            raise
        except Exception as error:  # neither protobuf's exceptions nor onnxruntime's have a common class of their own
            raise InputError(
                f"{path}: can't be used ({first_line(error)}): take it from the openwakeword package"
            ) from None

    mel, embedding = changed(MEL, lambda model: model), changed(EMBEDDING, of_any_length)

    def embed(clip: np.ndarray) -> np.ndarray:
        sound = np.pad(clip, PADDING).astype(np.float32)[None]
        frames = mel.run(None, {mel.get_inputs()[0].name: sound})[0].reshape(1, 1, -1, 32) / 10.0 + 2.0
        return embedding.run(None, {embedding.get_inputs()[0].name: frames})[0][0, :, :, 0].T

    return embed


def moments(samples: int) -> np.ndarray:
    """Ends of the windows of the embeddings of a clip of so many samples, in seconds [moments]."""
    frames = (samples + 2 * PADDING - FRAME) // FRAME_HOP + 1
    windows = np.arange((frames - WINDOW) // WINDOW_HOP + 1)
    ends = (windows * WINDOW_HOP + WINDOW - 1) * FRAME_HOP + FRAME
    return (ends - PADDING) / SAMPLE_RATE


def main(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file of the run that is trained with it")],
    models: Annotated[Path, typer.Argument(metavar="MODELS", help=f"Folder with {MEL} and {EMBEDDING}")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; about 2.5 KB a clip")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Another setting, as data.folder=...")] = None,
) -> None:
    """Compute Google's speech embedding of every training clip of a run, scaled to mean 0 and deviation 1.

    Example: python -m data_scripts.hints configs/gru-12.toml openwakeword/resources/models ../data/hints.npz
    """
    with report_errors():
        check_writable(output, "OUT", config, models / MEL, models / EMBEDDING)
        chosen = settings.load(config, set_ or [])
        embed = teacher(models)
        words = replace(chosen.data, noise_folders=(), speech_folders=(), made_noises=0)
        clips = AudioPool(words, corpus.task_labels(words.task), "training").clips
        with ThreadPoolExecutor() as pool:
            found = list(with_progress(pool.map(embed, clips), len(clips)))
        embeddings = np.stack(found)
        seconds = moments(clips.shape[1])
        if embeddings.shape[1:] != (len(seconds), EMBEDDING_SIZE):
            raise InputError(f"{models}: its networks give embeddings of shape {embeddings.shape[1:]} for a clip")
        embeddings -= embeddings.mean(axis=(0, 1))
        embeddings /= np.maximum(embeddings.std(axis=(0, 1)), 1e-6)
        content = io.BytesIO()
        np.savez(content, digests=list(digests(clips)), embeddings=embeddings.astype(np.float16), seconds=seconds)
        write(output, content.getvalue())
        typer.echo(f"{output}: {len(clips)} clips, {len(seconds)} moments each")


if __name__ == "__main__":
    typer.run(main)
