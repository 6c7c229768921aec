"""Environments that hold one release of the OpenHands Agent Server each, kept for the next run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["Unavailable", "interpreter_of"]

_ROOT = Path(__file__).parents[3]
_PYTHON = "3.12"
_TIMEOUT = 420
# The server's packages do not pin their own dependencies: an old release starts only with those of its day.
_NEWEST_DEPENDENCY = {"1.18.1": "2026-04-27", "1.58.2": None}


class Unavailable(Exception):
    """A server cannot be had here; the message is one line that says why."""


def interpreter_of(version: str) -> Path:
    """The interpreter of the environment in which this release is installed, which it is if it was not yet.

    Raises `Unavailable` without uv or Python 3.12, and where the registry is not reached.
    """
    place = _ROOT / ".venvs" / f"openhands-{version}"
    interpreter = Path("bin", "python")
    if (place / interpreter).exists():
        return place / interpreter
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise Unavailable(f"OpenHands {version} is not tested: it needs uv, which is neither on PATH nor named by UV")
    packages = [f"openhands-{part}=={version}" for part in ("agent-server", "sdk", "tools")]
    newest = _NEWEST_DEPENDENCY[version]
    limit = () if newest is None else ("--exclude-newer", newest)
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as folder:
        made = Path(folder, place.name)
        _run(
            version, uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", _python(version, uv), str(made)
        )
        _run(version, uv, "pip", "install", "--quiet", "--python", str(made / interpreter), *limit, *packages)
        if not place.exists():
            made.rename(place)
    return place / interpreter


def _python(version: str, uv: str) -> str:
    """A Python 3.12 that runs; one of pyenv's that is not selected is found by its folder."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = (shutil.which(f"python{_PYTHON}"), *sorted(pyenv.glob(f"versions/{_PYTHON}.*/bin/python"), reverse=True))
    for candidate in found:
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    asked = subprocess.run([uv, "python", "find", _PYTHON], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise Unavailable(f"OpenHands {version} is not tested: it needs Python {_PYTHON}, which is not found")
    return asked.stdout.strip()


def _run(version: str, *command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        said = str(error.stderr)
        reason = " ".join(said[max(said.find("error"), 0) :].split())
        raise Unavailable(f"OpenHands {version} is not tested: uv {command[1]} failed, {reason[:300]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"OpenHands {version} is not tested: uv {command[1]} took over {_TIMEOUT} s") from None
    except OSError as error:
        raise Unavailable(f"OpenHands {version} is not tested: {command[0]} cannot be run: {error.strerror}") from None
