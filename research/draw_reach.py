"""python -m research.draw_reach OUT.png: how far back each kind of recurrent cell feels, as a picture.

What a cell learns about a moment comes from the gradient that arrives there. On its way back in time the gradient is
multiplied by one matrix a block; where that shrinks it every time, it vanishes, where it grows, it explodes (Hochreiter
1991; Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063). `docs/recurrent-networks.md`
tells the story.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from speechrnn import audio, pictures
from speechrnn.card import SILENCE
from speechrnn.files import check_writable
from speechrnn.programs import report_errors
from speechrnn.training import checkpoint, from_onnx
from speechrnn.training.config import STREAMABLE, Config
from speechrnn.training.network import Network, Recognizer

DIRECTIONS = 16
EXPLODING = 4.0  # times the recurrent weights of a fresh cell: some of its modes then grow in time


def reach(model: Recognizer, sound: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> Tensor:
    """Norm of the gradient that arrives at each block from the last one [blocks], relative to that of the last block.

    The root of the mean of |J' d|^2 over random directions d: an estimate of the Frobenius norm of J = d h_T / d x_t
    (Hutchinson 1990), where h_T is what the recurrent stack gives out at the last block T, and x_t its input at t.

    Parameters
    ----------
    model : Recognizer
    sound : float32 [batch, samples], whole blocks
    """
    seen: list[tuple[Tensor, Tensor]] = []
    assert isinstance(model.network, Network)
    hook = model.network.cell.register_forward_hook(lambda cell, given, out: seen.append((given[0], out[0])))
    model.eval()(sound, sound.new_zeros(len(sound), model.state_size))
    hook.remove()
    inputs, outputs = seen[0]  # [batch, blocks, features], [batch, blocks, hidden]
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(inputs.shape[1])
    for _ in range(directions):
        direction = torch.randn(outputs.shape[2], generator=generator)
        (gradient,) = torch.autograd.grad((outputs[:, -1] @ direction).sum(), inputs, retain_graph=True)
        squares += gradient.square().sum(dim=(0, 2))
    return (squares / squares[-1]).sqrt()


def fresh(cell: str, scale: float = 1.0, layers: int = 1, seed: int = 0) -> Recognizer:
    """An untrained recognizer; its recurrent weights are `scale` times those that torch draws."""
    torch.manual_seed(seed)
    config = Config()
    model = Recognizer(replace(config, network=replace(config.network, cell=cell, layers=layers)), ("word", SILENCE))
    assert isinstance(model.network, Network)
    with torch.no_grad():
        for name, weight in model.network.cell.named_parameters():
            if name.startswith("weight_hh"):
                weight *= scale
    return model


def ends(sounds: Sequence[Tensor], length: int) -> Tensor:
    """The last samples of each sound, digital silence before one that is shorter [sounds, length]."""
    return torch.stack([torch.nn.functional.pad(one[-length:], (max(0, length - len(one)), 0)) for one in sounds])


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Argument(metavar="OUT.png", help="Picture: .png, .svg or .pdf")],
    trained: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL]...", help="Checkpoints, ONNX files, names of shipped models")
    ] = None,
    clips: Annotated[list[Path] | None, typer.Option("--sound", help="Clips to infer; may be repeated")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=10.0, help="How far back to look")] = 1.5,
) -> None:
    """Draw how the gradient of the last moment arrives at the moments before it, cell by cell.

    Example: python -m research.draw_reach docs/reach.png gru-12
    """
    with report_errors():
        pictures.kind(out)
        sounds = clips or [Path("examples/yes.wav"), Path("examples/stop.wav"), Path("examples/marvin.wav")]
        check_writable(out, "OUT.png", *sounds, *(trained or ()))
        loaded = [torch.from_numpy(audio.load(path)) for path in sounds]
        models = {f"{cell}, fresh": fresh(cell) for cell in STREAMABLE}
        models[f"rnn, fresh, recurrent weights times {EXPLODING:g}"] = fresh("rnn", EXPLODING)
        for path in trained or []:
            name = str(path)
            model = from_onnx.recognizer(name) if from_onnx.is_onnx(name) else checkpoint.recognizer(path)[0]
            models[f"{model.config.network.cell}, trained ({path.name})"] = model
        norms = {}
        for name, model in models.items():
            block_seconds = model.block_length / audio.SAMPLE_RATE
            sound = ends(loaded, round(seconds / block_seconds) * model.block_length)
            norms[name] = (reach(model, sound).numpy(), block_seconds)
        pictures.reaches(norms, out)


if __name__ == "__main__":
    app()
