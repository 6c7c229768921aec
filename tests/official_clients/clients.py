"""The official clients, and how one of them is run against a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.official_clients.environments import environment, typescript_version

__all__ = ["CLIENTS", "OfficialClient", "Report", "Script", "run"]

_HERE = Path(__file__).parent
_TIMEOUT = 90


@dataclass(frozen=True, slots=True)
class OfficialClient:
    """A released client, the resource of it that is used, and whether its calls block or are awaited."""

    package: Literal["llama-cloud", "@llamaindex/llama-cloud"]
    version: str
    resource: Literal["chat", "beta.chat"]
    mode: Literal["sync", "async"]

    def __str__(self) -> str:
        return f"{self.package}-{self.version}-{self.resource}-{self.mode}"

    @property
    def is_python(self) -> bool:
        return self.package == "llama-cloud"

    @property
    def has_set_title(self) -> bool:
        """The published API had the route from 2.6.0 to 2.7.0 only."""
        return self.version == "2.7.0"

    @property
    def has_shared_access(self) -> bool:
        """`shared_access`, `require_all_indexes` and `skipped_index_ids` came with Python's 2.17.0."""
        return self.is_python and self.version != "2.7.0"


CLIENTS = (
    OfficialClient("llama-cloud", "2.7.0", "beta.chat", "sync"),
    OfficialClient("llama-cloud", "2.7.0", "beta.chat", "async"),
    OfficialClient("llama-cloud", "2.17.0", "beta.chat", "sync"),
    OfficialClient("llama-cloud", "2.17.0", "beta.chat", "async"),
    OfficialClient("llama-cloud", "2.19.0", "beta.chat", "sync"),
    OfficialClient("llama-cloud", "2.19.0", "beta.chat", "async"),
    OfficialClient("llama-cloud", "2.19.0", "chat", "sync"),
    OfficialClient("llama-cloud", "2.19.0", "chat", "async"),
    OfficialClient("@llamaindex/llama-cloud", typescript_version(), "beta.chat", "async"),
)


@dataclass(frozen=True, slots=True)
class Script:
    """What a client is to say. `question` has an answer on a page of a PDF in the first index."""

    index_ids: Sequence[str]
    question: str
    hold: str
    release: str


class Report:
    """What a client saw, by the name of the part of its script that saw it."""

    # Any: JSON, whose shape the tests are there to check.
    def __init__(self, parts: Mapping[str, dict[str, Any]], *, crash: str | None = None) -> None:
        self._parts = parts
        self._crash = crash

    def __getitem__(self, part: str) -> Any:
        """What the part saw; fails the test that asks for one in which the client failed."""
        if self._crash is not None:
            pytest.fail(f"the client gave no report: {self._crash}", pytrace=False)
        result = self._parts[part]
        if "raised" in result:
            pytest.fail(f"the client failed:\n{result['raised']}", pytrace=False)
        return result["saw"]


def run(client: OfficialClient, script: Script, *, url: str, api_key: str) -> Report:
    """Runs the client's script and gives its report.

    The script knows the server by the client's own environment variables alone. Raises
    `Unavailable` if the client cannot be had here.
    """
    told = json.dumps({"resource": client.resource, "mode": client.mode, **asdict(script)})
    place = environment(client.package, client.version)
    if client.is_python:
        # -I: nothing of the project is on the path, whatever PYTHONPATH says.
        command = [str(place), "-I", str(_HERE / "python_client.py"), told]
    else:
        # Node.js looks for packages beside the script.
        copy = shutil.copy(_HERE / "typescript_client.mjs", place)
        command = ["node", str(copy), told]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LLAMA_", "NODE_")) and not name.lower().endswith("_proxy")
    }
    try:
        done = subprocess.run(
            command,
            env={**kept, "LLAMA_CLOUD_BASE_URL": url, "LLAMA_CLOUD_API_KEY": api_key},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_TIMEOUT,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        return Report({}, crash=f"it ended with {error.returncode}:\n{error.stderr[-3000:]}")
    except subprocess.TimeoutExpired:
        return Report({}, crash=f"it did not end within {_TIMEOUT} s")
    return Report(json.loads(done.stdout))
