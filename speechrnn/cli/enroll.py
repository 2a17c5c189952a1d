"""`speechrnn enroll`: an ONNX file with words of one's own, from recordings of them."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError
from speechrnn.programs import ModelOption, OverwriteOption, report_errors, say


def enroll(
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORD=PATH[,PATH]...", help="Own words, each with recordings or folders of them"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The ONNX file to write")],
    target_fa: Annotated[
        float, typer.Option("--target-fa", min=0.01, max=100.0, help="False accepts an hour to allow for each word")
    ] = 0.5,
    keep: Annotated[
        str, typer.Option("--keep", metavar="all|none|WORD,...", help="Which of the model's own words stay")
    ] = "all",
    background: Annotated[
        list[Path] | None,
        typer.Option("--background", metavar="PATH", help="Sound of the room without the words; may be repeated"),
    ] = None,
    not_: Annotated[
        list[Path] | None,
        typer.Option("--not", metavar="PATH", help="Recordings of what must not fire; may be repeated"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it even where a word can't be distinguished")] = False,
    model: ModelOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Teach a model words of your own from 3 to 50 recordings each, in seconds.

    A recording holds one take, or several with pauses of half a second and more. What can't be used is named. Before
    the file is written it says how often each word will be detected, measured on takes that were held out in turn.
    Words of the model that are kept have the same posteriors as before.

    Example: speechrnn enroll computer=recordings/computer jarvis=take1.wav,take2.m4a -o mine.onnx
    """
    with report_errors():
        import onnx  # noqa: F401 - what writes the file: if it is missing, before the work

        from speechrnn.enrolment import background as packs
        from speechrnn.enrolment import takes
        from speechrnn.enrolment.enrol import Enroller, check_words
        from speechrnn.files import check_free, write
        from speechrnn.model import Model

        named = [parse(text) for text in words]
        if len({word for word, _ in named}) < len(named):
            raise InputError("a word is named twice: give all its recordings at once, as WORD=PATH,PATH")
        inputs = [path for _, paths in named for path in paths]
        check_free([out], "--out", overwrite, *inputs, *(background or []), *(not_ or []))
        base = Model(model)
        found = {}
        for word, paths in named:
            found[word], remarks = takes.read(paths)
            for remark in remarks:
                say(remark)
        chosen = kept(keep, base.card.words)
        check_words(base, found, chosen)
        unwanted, remarks = takes.read(not_ or [])
        for remark in remarks:
            say(remark)
        own = packs.from_files([str(path) for path in background]) if background else None
        made = Enroller(base, own_background=own).enrol(found, chosen, target_fa, unwanted, force)
        for report in made.reports:
            typer.echo(str(report))
            for warning in report.warnings:
                say(f"{report.word}: {warning}")
            if report.refusal:
                say(f"{report.word}: {report.refusal}")
        write(out, made.content, overwrite=overwrite)
        typer.echo(f"{out}: {len(made.content) / 1e6:.2f} MB; try it: speechrnn listen --model {out}")


def parse(text: str) -> tuple[str, list[str]]:
    """`WORD=PATH,PATH` -> the word and the paths.

    Raises
    ------
    InputError
        if it has another form
    """
    word, equals, paths = text.partition("=")
    given = [path for path in paths.split(",") if path]
    if not equals or not word or not given:
        raise InputError(f"{text}: give a word and its recordings, as computer=recordings/computer")
    return word, given


def kept(text: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """What `--keep` names: all, none, or words joined by commas."""
    if text in ("all", "none"):
        return words if text == "all" else ()
    return tuple(word for word in text.split(",") if word)
