"""Environments that hold one official client each, apart from the project's own, and are kept for the next run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Unavailable", "environment", "typescript_version"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_CONSTRAINTS = _HERE / "constraints.txt"
_MANIFEST = _HERE / "package.json"
_LOCK = _HERE / "package-lock.json"
# The client's own README asks for 20; what is tested here works on 18 as well, which Debian 12 has.
_OLDEST_NODE = 18
_TIMEOUT = 300


class Unavailable(Exception):
    """An official client cannot be had here; the message is one line that says why."""


def environment(package: str, version: str) -> Path:
    """Where a client is installed, which it is if it was not yet.

    For `llama-cloud` the interpreter that can import it, for `@llamaindex/llama-cloud` a folder
    whose scripts can. Raises `Unavailable` without the tools, and where the registry is not reached.
    """
    try:
        return _python_with(version) if package == "llama-cloud" else _typescript_folder()
    except Unavailable as error:
        raise Unavailable(f"{package} {version} is not tested: {error}") from None


def typescript_version() -> str:
    """The version of `@llamaindex/llama-cloud` in package.json."""
    return str(json.loads(_MANIFEST.read_text("utf-8"))["dependencies"]["@llamaindex/llama-cloud"])


def _python_with(version: str) -> Path:
    place = _ROOT / ".venvs" / f"llama-cloud-{version}-{sys.implementation.cache_tag}-{_digest(_CONSTRAINTS)}"
    interpreter = Path("bin", "python") if os.name == "posix" else Path("Scripts", "python.exe")
    if (place / interpreter).exists():
        return place / interpreter
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise Unavailable("it needs uv, which is neither on PATH nor named by UV")
    # What is left of an environment whose Python was removed.
    shutil.rmtree(place, ignore_errors=True)
    with _made(place) as made:
        _output(uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", sys.executable, str(made))
        _output(
            *(uv, "pip", "install", "--quiet", "--python", str(made / interpreter)),
            *("--constraint", str(_CONSTRAINTS), f"llama-cloud=={version}"),
        )
    return place / interpreter


def _typescript_folder() -> Path:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable(f"it needs Node.js and npm, and {'npm' if node else 'node'} is not on PATH")
    found = _output(node, "--version").strip()
    if int(found.removeprefix("v").split(".")[0]) < _OLDEST_NODE:
        raise Unavailable(f"it needs Node.js {_OLDEST_NODE} or newer, this is {found}")
    place = _ROOT / ".node" / f"llama-cloud-{typescript_version()}-{_digest(_LOCK)}"
    if not place.exists():
        with _made(place) as made:
            made.mkdir()
            shutil.copy(_MANIFEST, made)
            shutil.copy(_LOCK, made)
            _output(npm, "ci", "--prefix", str(made), "--ignore-scripts", "--no-audit", "--no-fund")
    return place


@contextmanager
def _made(place: Path) -> Generator[Path]:
    """Where to build what becomes `place` only when it is whole: a run that is cut short leaves nothing behind."""
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as folder:
        made = Path(folder, place.name)
        yield made
        try:
            made.rename(place)
        except OSError:
            # Another run may have made the same in the meantime.
            if not place.exists():
                raise


def _output(*command: str) -> str:
    """What a command prints. Raises `Unavailable` if it cannot be run or fails."""
    try:
        done = subprocess.run(
            command,
            # The interpreter is the one of the tests.
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = str(error.stderr)
        # What stands before the first error are warnings.
        reason = " ".join(said[max(said.find("error"), 0) :].split())
        raise Unavailable(f"{Path(command[0]).name} {command[1]} failed, {reason[:300]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{Path(command[0]).name} {command[1]} took over {_TIMEOUT} s") from None
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be run: {error.strerror}") from None
    return done.stdout


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
