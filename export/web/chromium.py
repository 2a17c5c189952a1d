"""A Chromium without a window, driven over a pipe: for the tests of the page, and for its picture.

It speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/): JSON messages that end with a
zero byte, commands into file descriptor 3, answers and events out of 4. No other program stands between.
"""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
PIECE = 1 << 20  # bytes read at a time
EXIT_SECONDS = 10.0  # for the browser to write its profile


def find() -> str | None:
    """The browser of this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(RuntimeError):
    """The browser refused a command, a script in the page threw, or nothing came in time."""


class Browser:
    """One tab of a browser with a profile of its own, which is deleted in the end.

    Parameters
    ----------
    microphone : a WAV that the browser takes for its microphone, once from its start and then silence; or None for none
    allowed : whether the page may use the microphone; what a person answers when the browser asks
    width, height : of the window, in CSS pixels
    dark : whether the page gets the dark colour scheme
    """

    def __init__(
        self,
        microphone: Path | None = None,
        allowed: bool = True,
        width: int = 1100,
        height: int = 900,
        dark: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        program = find()
        if program is None:
            raise BrowserError(f"there is no {', '.join(NAMES)} on the path")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        arguments = [
            program,
            *FLAGS,
            *flags,
            f"--user-data-dir={self._profile.name}",
            f"--window-size={width},{height}",
        ]
        arguments.append("--use-fake-ui-for-media-stream" + ("" if allowed else "=deny"))
        if microphone is not None:
            arguments.append("--use-fake-device-for-media-stream")
            arguments.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        redirect = f'exec "$@" 3<&{commands} 4>&{answers}'  # by a shell: Popen can't place descriptors
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", redirect, "chromium", *arguments, "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._pending, self._number, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        try:
            self._attach(dark)
        except BaseException:
            self.close()
            raise

    def _attach(self, dark: bool) -> None:
        """Send commands to the first tab from now on, and receive its events."""
        targets = self.command("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.command("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and delete its profile."""
        os.close(self._commands)  # a browser whose pipe is closed ends
        os.close(self._answers)
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()

    def command(self, method: str, timeout: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result; events that come meanwhile are kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise BrowserError(f"{method}: {answer['error']['message']}")
            else:
                return answer["result"]

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._pending:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"{what}: no answer in time")
            piece = os.read(self._answers, PIECE)
            if not piece:
                raise BrowserError(f"{what}: the browser has ended")
            self._pending += piece
        message, _, self._pending = self._pending.partition(b"\0")
        return json.loads(message)

    def evaluate(self, script: str, timeout: float = 30.0) -> Any:
        """The value of a script in the page; a promise is awaited, and counts as asked for by a person."""
        result = self.command(
            "Runtime.evaluate", timeout, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait(self, script: str, timeout: float = 30.0) -> Any:
        """Ask until the script gives something true, and return it."""
        deadline = time.monotonic() + timeout
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise BrowserError(f"not within {timeout:g} s: {script}")
            time.sleep(0.1)
        return value

    def open(self, address: str) -> None:
        """Go to a page; returns once its load event has fired."""
        failed = self.command("Page.navigate", url=address).get("errorText")
        if failed:
            raise BrowserError(f"{address}: {failed}")
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def choose_file(self, selector: str, path: Path) -> None:
        """What a person does in the dialog of a file input."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drop_file(self, x: float, y: float, path: Path) -> None:
        """A file dragged into the window and let go there."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def trouble(self) -> list[str]:
        """Uncaught errors and error lines of the console so far."""
        found = [e["params"]["exceptionDetails"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        texts = [details.get("exception", {}).get("description") or details["text"] for details in found]
        entries = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        texts += [f"{entry['text']} {entry.get('url', '')}" for entry in entries if entry["level"] == "error"]
        return texts
