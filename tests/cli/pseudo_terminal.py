"""A terminal with the program on it, for what depends on real keys and a real screen."""

from __future__ import annotations

import os
import select
import subprocess

from tests.cli.conftest import COMMAND, Program


class PseudoTerminal:
    """A pseudo-terminal with the program on it."""

    def __init__(self, program: Program, columns: int = 80) -> None:
        self._env = program.env | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"}
        self._read_to = 0
        self.seen = ""

    def start(self, *arguments: str) -> None:
        self._master, slave = os.openpty()
        self._process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, env=self._env, preexec_fn=_take_terminal
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until the text has been shown, after what was waited for before."""
        while (found := self.seen.find(text, self._read_to)) < 0:
            assert self._read(), f"the program ended without {text!r}: {self.seen!r}"
        self._read_to = found + len(text)

    def interrupt(self, text: str) -> None:
        """Press Ctrl-C until the text is shown. See `Program.interrupt` for why once may not do."""
        while self.seen.find(text, self._read_to) < 0:
            self.type("\x03")
            while select.select([self._master], [], [], 5)[0]:
                assert self._read(), f"the program ended without {text!r}: {self.seen!r}"
                if self.seen.find(text, self._read_to) >= 0:
                    break
        self.wait_for(text)

    def end(self) -> int:
        while self._read():
            pass
        return self._process.wait()

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # Linux says EIO where the other end is closed
            return False
        self.seen += data.decode()
        return bool(data)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)


def _take_terminal() -> None:
    """Make the terminal the process's own, so that Ctrl-C is a signal to it."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
