"""`speechrnn devices`: the list of microphones."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from speechrnn.errors import MicrophoneError
from speechrnn.programs import report_errors


def devices(as_json: Annotated[bool, typer.Option("--json", help="The list as JSON")] = False) -> None:
    """List the inputs that can be listened to, with the rates they have; * marks the default.

    Example: speechrnn devices --json
    """
    with report_errors():
        from speechrnn import microphone

        found = microphone.devices()
        if as_json:
            sys.stdout.write(json.dumps([asdict(device) for device in found], indent=2) + "\n")
            return
        if not found:
            raise MicrophoneError("no microphone found: plug one in, or start the sound server")
        from rich.table import Table
        from rich.text import Text

        from speechrnn.terminal import plain_console

        table = Table("", "number", "name", "host", "rate", "channels")
        for device in found:
            mark = "*" if device.default else ""
            numbers = f"{device.rate} Hz", str(device.channels)
            table.add_row(mark, str(device.index), Text(device.name), Text(device.host_api), *numbers)
        plain_console().print(table)
