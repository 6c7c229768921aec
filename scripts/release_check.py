"""Install the built packages in empty environments, and do there what the README says: `make release-check`.

`python scripts/release_check.py dist 3.11 3.13` installs the wheel and the sdist of the folder, with extras, on each
Python. In a folder that is no checkout, it then runs the demo, and the README's Python blocks in their order, over the
example documents that came with the package. `UV` names uv.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV", "uv")
EXTRAS = "llama-index,langchain,server,cli"
BLOCK = re.compile(r'^```python(?: title="([^"]*)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
ANSWER = "36 months"


def main(folder: Path, pythons: list[str]) -> None:
    """Check each package in the folder on each Python. Exits with 1 at the first that fails."""
    packages = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    if {package.suffix for package in packages} != {".whl", ".gz"}:
        sys.exit(f"{folder} must hold a wheel and an sdist; `make release-check` builds both")
    for python in pythons:
        for package in packages:
            with tempfile.TemporaryDirectory() as empty:
                check(package, python, Path(empty))
            print(f"ok    {package.name} on Python {python}", flush=True)


def check(package: Path, python: str, empty: Path) -> None:
    """Install the package in an environment in the empty folder, and use it there."""
    # With the settings that say where packages come from and are kept.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name == "PATH" or name.startswith(("UV_", "PIP_", "SSL_")) or name.lower().endswith("_proxy")
    }
    environment |= {"UV_CACHE_DIR": cache(), "HOME": str(empty), "XDG_DATA_HOME": str(empty / "data")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{package.name} on Python {python}: {command[:3]} failed\n{done.stdout}{done.stderr}")
        return done.stdout

    run(UV, "venv", "--quiet", "--python", python, "venv")
    binaries = empty / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(UV, "pip", "install", "--quiet", "--python", binaries / "python", f"{package}[{EXTRAS}]")
    run(binaries / "python", "-c", COPY_EXAMPLES)
    demo = run(binaries / "chat-sessions", "demo")
    if "14.3 %" not in demo or "11.8 %" not in demo:
        sys.exit(f"{package.name} on Python {python}: the demo did not answer\n{demo}")
    (empty / "readme.py").write_text(program(BLOCK.findall((ROOT / "README.md").read_text())))
    shown = run(binaries / "python", "readme.py")
    if shown.count(ANSWER) < 3:
        sys.exit(f"{package.name} on Python {python}: the README's blocks did not answer\n{shown}")


def cache() -> str:
    """Return uv's cache folder, which an empty home would hide."""
    return subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()


def program(blocks: list[tuple[str, str]]) -> str:
    """Join the README's blocks: those without a key as they are, the others with a local server's key."""
    without = "".join(code for title, code in blocks if title == "no key")
    needs_key = "".join(code for title, code in blocks if title != "no key")
    return f"{without}\n{WITH_SERVER}{textwrap.indent(needs_key, '    ')}"


COPY_EXAMPLES = """
import shutil, chat_sessions, pathlib
here = pathlib.Path(chat_sessions.__file__).parent
assert "site-packages" in str(here), here
shutil.copytree(here / "example_documents", "examples/documents")
"""
WITH_SERVER = """
import os

with LocalServer(indexes={"idx-docs": "examples/documents"}) as server:
    os.environ |= {"LLAMA_CLOUD_API_KEY": server.api_key, "LLAMA_CLOUD_BASE_URL": server.url}
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
