"""The `speechrnn` command: one module a verb, heavy imports inside the verb."""

import sys
from importlib import import_module
from typing import Annotated

import typer

from speechrnn import interrupts
from speechrnn.programs import report_errors

GROUPS = {  # as `speechrnn --help` shows them
    "Use": ("listen", "spot", "classify", "info", "devices", "doctor", "plot"),
    "Own words": ("enroll",),
    "Measure": ("evaluate", "score", "validate", "bench"),
    "Train": ("train",),
    "Deploy": ("export", "calibrate", "quantize", "to-c"),
}
VERBS = {verb: group for group, verbs in GROUPS.items() for verb in verbs}


def run() -> None:
    """Run the verb that was asked for; only its own module is imported, since starting fast matters."""
    app = typer.Typer(
        name="speechrnn",
        help="Recognise spoken commands: in clips, recordings and live sound. Measure, train and deploy models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_version)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for verb in (asked,) if asked in VERBS else VERBS:
        name = verb.replace("-", "_")
        app.command(verb, rich_help_panel=VERBS[verb])(getattr(import_module(f"speechrnn.cli.{name}"), name))
    try:
        with report_errors():  # also around what typer prints by itself
            app()
    except typer.Exit as ended:
        interrupts.leave(ended.exit_code)
    except SystemExit as ended:
        if interrupts.was_pressed():
            interrupts.leave(ended.code if isinstance(ended.code, int) else 1)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        from speechrnn import __version__

        typer.echo(f"speechrnn {__version__}")
        raise typer.Exit()


def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
