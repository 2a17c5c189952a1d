"""`speechrnn to-c`: an ONNX file as a C program."""

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError, ModelError
from speechrnn.export.precision import Precision
from speechrnn.programs import OverwriteOption, report_errors


def to_c(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file of speechrnn")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for speechrnn.h, speechrnn.c and main.c")],
    weights: Annotated[
        Precision,
        typer.Option(help="int8 needs a quarter of the flash and computes what the file of `speechrnn quantize` does"),
    ] = Precision.float32,
    clips: Annotated[
        Path | None,
        typer.Option(help="Also compare labels on real clips: a folder for each word", show_default=False),
    ] = None,
    timed: Annotated[bool, typer.Option("--benchmark", help="Also time a block against onnxruntime")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Turn an ONNX file into C99 that needs nothing but the C library, and finds the words that `speechrnn spot` finds.

    Example: speechrnn to-c model.onnx spot/ --weights int8 && gcc -O3 -std=c99 -o spot/spot spot/*.c -lm
    """
    with report_errors():
        from speechrnn.evaluation import corpus
        from speechrnn.export import c_compiled, c_weights
        from speechrnn.export.c_source import CODE_KILOBYTES, STACK_BYTES, program
        from speechrnn.export.to_c import check_folder, compare, put, with_weights
        from speechrnn.model import Model

        compiler = c_compiled.compiler()
        if not compiler and (timed or clips):
            raise InputError(f"{'--benchmark' if timed else '--clips'}: needs a C compiler: install gcc, or set CC")
        model = Model(model_path)
        check_folder(folder, overwrite, model.path)
        if not model.card.words:
            raise ModelError(f"{model_path}: its model card names no words, so there is nothing to find")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a name that is too long is so before the work
        if clips is not None:
            corpus.evaluation_clips(clips, model.labels, "validation")  # and so are clips that aren't there
        stored = with_weights(model, weights)
        made = program(c_weights.read(stored), model.card, weights, model_path.name)
        lines = ["not compared with the ONNX file, since there is no C compiler here"]
        if compiler:
            compiled = c_compiled.Compiled(made, model.card, compiler)
            name = f"{model_path} with {weights} weights"
            lines = list(compare(compiled, c_compiled.as_written(stored), name, clips))
            if timed:
                ours, theirs, ratio = c_compiled.block_seconds(compiled, stored)
                took = f"{1000 * ours:.3f} ms, onnxruntime {1000 * theirs:.3f} ms"
                lines.append(f"a block: {took}, {ratio:.2f} times the time")
        put(made, folder, overwrite)
        constants = f"{made.constant_bytes / 1000:.1f} KB of constants"
        typer.echo(f"{folder}: {', '.join(made.files)}")
        typer.echo(f"flash: {constants}, and less than {CODE_KILOBYTES} KB of code")
        typer.echo(f"RAM: {made.state_bytes / 1000:.1f} KB of state, and less than {STACK_BYTES} bytes of stack")
        for line in lines:
            typer.echo(line)
