"""A headless Chromium, controlled through its DevTools protocol over a pipe, which needs no Python package.

The tests of the pages and `docs/images/swagger_ui.py` use it.
"""

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

SECONDS_TO_WAIT = 60


def find_chromium() -> str | None:
    """The program that the variable CHROMIUM names, or the installed one."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class BrowserError(Exception):
    """Chromium ended, refused a command, or its page did not get ready."""


class Browser:
    """A headless Chromium with one page, controlled through file descriptors 3 (commands) and 4 (answers)."""

    def __init__(self, program: str, profile: Path) -> None:
        self.events: list[dict[str, Any]] = []
        command_read, self._commands = os.pipe()
        self._answers, answer_write = os.pipe()
        # The ends for Chromium move to high numbers first, so that neither of them is 3 or 4 already.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (command_read, answer_write)]
        options = [
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--hide-scrollbars",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-gpu",
            "--force-color-profile=srgb",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
        ]

        def connect_in_child() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, *options],
            preexec_fn=connect_in_child,
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
        )
        for end in (command_read, answer_write, *high):
            os.close(end)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def send(self, method: str, **parameters: Any) -> Any:
        """Send one command and wait for its result. Events that come before it are appended to `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = os.read(self._answers, 1 << 20)
            if not received:
                raise BrowserError("Chromium ended. Run it by hand to see why.")
            self._buffer += received
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression}: {result['exceptionDetails']['exception']['description']}")
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise BrowserError(f"The page did not get ready: {expression}")
            time.sleep(0.1)

    def close(self) -> None:
        os.close(self._commands)
        self._process.wait(timeout=SECONDS_TO_WAIT)
