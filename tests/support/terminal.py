"""A command in a terminal of 80 columns and 24 lines, and what a person sees there, as xterm.js draws it in a browser.

Costs as long as the command takes.
"""

import base64
import errno
import os
import pty
import select
import struct
import sys
import termios
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from support.browser import Browser
from support.places import REPOSITORY

XTERM = REPOSITORY / ".browser" / "node_modules" / "@xterm" / "xterm"
COLUMNS, LINES = 80, 24
# Shorter than between two frames of a live screen, longer than within one.
SILENCE_S = 0.1
PAGE = """\
<!DOCTYPE html><meta charset="utf-8"><link rel="stylesheet" href="{xterm}/css/xterm.css">
<script src="{xterm}/lib/xterm.js"></script>
<body style="margin: 0; background: #1d242c"><div id="screen" style="display: inline-block; padding: 12px"></div>
<script>
const theme = {{background: "#1d242c", foreground: "#e6e9ed"}};
const size = {{cols: {columns}, rows: {lines}, scrollback: 0}};  // with it a bar lies on the last column
const terminal = new Terminal({{...size, fontFamily: "DejaVu Sans Mono, monospace", fontSize: 15, theme}});
terminal.open(document.getElementById("screen"));
</script>
"""


@dataclass(frozen=True)
class Recording:
    """All that a command sent, and how much of it when it paused."""

    sent: bytes
    pauses: tuple[int, ...]
    code: int

    def before(self, text: str) -> bytes:
        """What was sent when it paused last before this text."""
        end = self.sent.index(text.encode())
        return self.sent[: max(pause for pause in self.pauses if pause < end)]


def recorded(*arguments: object, cwd: Path) -> Recording:
    """Run `sweep` to its end."""
    pid, terminal = pty.fork()
    if pid == 0:
        ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        os.chdir(cwd)
        command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
        os.execve(command[0], command, {**os.environ, "TERM": "xterm-256color"})
    sent, pauses = bytearray(), [0]
    try:
        while True:
            if not select.select([terminal], [], [], SILENCE_S)[0]:
                pauses.append(len(sent))
                select.select([terminal], [], [])
            sent += os.read(terminal, 65536)
    except OSError as error:  # as Linux says that nobody writes any more
        assert error.errno == errno.EIO
    finally:
        os.close(terminal)
    return Recording(bytes(sent), tuple(pauses), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def look_at(browser: Browser, sent: bytes, *, picture: Path) -> list[str]:
    """The lines that a person sees once this was sent, and a picture of them."""
    page = picture.with_suffix(".html")
    page.write_text(PAGE.format(xterm=XTERM.as_uri(), columns=COLUMNS, lines=LINES))
    browser.open(page.as_uri())
    page.unlink()
    script = """
        const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
        const {active} = terminal.buffer;
        const line = (n) => active.getLine(active.baseY + n).translateToString(true);
        return new Promise((done) => terminal.write(bytes, () => requestAnimationFrame(done)))
            .then(() => [...Array(terminal.rows).keys()].map(line));
    """
    lines = list(browser.ask(script, base64.b64encode(sent).decode()))
    browser.picture(picture, of="#screen")
    return lines
