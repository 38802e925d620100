"""A page in headless Chromium, driven through its debugging pipe with the standard library alone.

The protocol is Chromium's own: JSON messages that end in a zero byte, to its file descriptor 3 and back from 4. No
port is opened, nothing on the network is spoken to.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60.0  # seconds; a loaded machine is slow, a page that never answers must end
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Chromium:
    """``with Chromium(folder) as browser``: one page, whose profile and downloads lie in ``folder``."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 800)) -> None:
        self.folder, self.size = folder, size
        self.downloads = folder / "downloads"
        self.events: list[dict] = []
        self._number, self._buffer, self._session = 0, b"", None

    def __enter__(self) -> "Chromium":
        self.downloads.mkdir(parents=True, exist_ok=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # above 10, so that making 3 and 4 of them overwrites neither
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        quiet = os.open(os.devnull, os.O_RDWR)
        profile = f"--user-data-dir={self.folder / 'profile'}"
        window = f"--window-size={self.size[0]},{self.size[1]}"
        places = zip((*ends, quiet, quiet, quiet), (3, 4, 0, 1, 2), strict=True)
        self._process = os.posix_spawn(
            PROGRAM,
            [PROGRAM, *FLAGS, profile, window, "about:blank"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, end, place) for end, place in places],
            setpgroup=0,
        )
        for end in (theirs_in, theirs_out, quiet, *ends):
            os.close(end)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{room}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)  # its own group, made above
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: object) -> dict:
        """One command of the protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._message(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _message(self, end: float) -> dict:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            content = os.read(self._in, 1 << 16)
            if not content:
                raise RuntimeError("Chromium has gone")
            self._buffer += content
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def go(self, page: Path) -> None:
        """Open a file and wait until it is there."""
        self.call("Page.navigate", url=page.as_uri())
        self.wait(f"location.href === {json.dumps(page.as_uri())} && document.readyState === 'complete'")

    def value(self, expression: str) -> object:
        """What a JavaScript expression gives."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """One key, as from a keyboard."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """The mouse on the middle of an element."""
        place = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = (
            self.value(f"{place}.{side} + {place}.{length} / 2") for side, length in (("x", "width"), ("y", "height"))
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def dark(self, on: bool) -> None:
        """The colours a rater's system asks for."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """What is to be seen, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def downloaded(self, name: str) -> Path:
        """A file that the page saved, once it is whole."""
        end = time.monotonic() + PATIENCE
        while not (self.downloads / name).is_file():
            if time.monotonic() > end:
                raise TimeoutError(f"{name} was not saved, there is {[path.name for path in self.downloads.iterdir()]}")
            time.sleep(0.02)
        return self.downloads / name
