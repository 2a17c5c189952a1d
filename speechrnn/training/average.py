"""python -m speechrnn.training.average OUT.pt CHECKPOINT...: the mean of the weights of several runs.

For runs that started from the same weights it is often better than each (model soups, Wortsman et al. 2022,
arXiv:2203.05482).
"""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import ConfigError, InputError
from speechrnn.files import check_writable
from speechrnn.programs import report_errors
from speechrnn.training import checkpoint

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[
        Path, typer.Argument(metavar="OUT.pt", help="The checkpoint to write; settings are the first one's")
    ],
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help="best.pt of run folders")],
    share: Annotated[
        list[float] | None, typer.Option("--share", help="Of each checkpoint, in order; alike if left out")
    ] = None,
) -> None:
    """Average the weights of checkpoints that went on from the same weights.

    Example: python -m speechrnn.training.average mean.pt runs/a/best.pt runs/b/best.pt --share 0.7 --share 0.3
    """
    with report_errors():
        check_writable(out, "OUT.pt", *checkpoints)
        shares = share or [1.0 / len(checkpoints)] * len(checkpoints)
        if len(shares) != len(checkpoints) or abs(sum(shares) - 1.0) > 1e-6:
            raise InputError(f"--share: give one for each of the {len(checkpoints)} checkpoints, 1 in all")
        read = [checkpoint.recognizer(path) for path in checkpoints]  # whose weights fit their settings
        contents = [content for _, content in read]
        kinds = [(model.config.front_end, model.config.network) for model, _ in read]
        for path, kind, content in zip(checkpoints, kinds, contents, strict=True):
            if kind != kinds[0] or content["labels"] != contents[0]["labels"]:
                raise ConfigError(f"{path}: is another network than {checkpoints[0]}: only like ones have a mean")
        weights = {
            name: sum(
                part * content["weights"][name].double() for part, content in zip(shares, contents, strict=True)
            ).to(tensor.dtype)
            for name, tensor in contents[0]["weights"].items()
        }
        kept = {"config": contents[0]["config"], "labels": contents[0]["labels"]}
        checkpoint.save(out, {**kept, "weights": weights})
        typer.echo(f"export it: speechrnn export {out} -o model.onnx")


if __name__ == "__main__":
    app()
