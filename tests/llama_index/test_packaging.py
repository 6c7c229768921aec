from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import chat_sessions.llama_index
from chat_sessions import Event, Stop, TextDelta, Usage
from tests.llama_index.checklist import proves
from tests.llama_index.test_messages import live

ROOT = Path(__file__).parents[2]


def run(program: str) -> str:
    """What a program prints, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
"""


@proves(58)
def test_the_package_is_imported_without_llamaindex_and_says_what_the_adapter_needs() -> None:
    program = WITHOUT.format(names=["llama_index", "llama_index.core"]) + (
        "import chat_sessions\n"
        "try:\n"
        "    import chat_sessions.llama_index\n"
        "except chat_sessions.ConfigurationError as error:\n"
        "    print(error)\n"
    )
    assert run(program) == "the LlamaIndex adapter needs llama-index-core: pip install 'chat-sessions[llama-index]'"


@proves(58, 59)
def test_this_adapter_loads_neither_langchain_nor_the_official_client_nor_the_server() -> None:
    unwanted = ["langchain_core", "chat_sessions.langchain", "llama_cloud", "chat_sessions.server", "starlette"]
    program = WITHOUT.format(names=unwanted) + "import chat_sessions.llama_index\nprint('fine')"
    assert run(program) == "fine"


@proves(58)
def test_the_package_adds_nothing_to_the_namespace_of_llamaindex() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/chat_sessions"]
    assert not (ROOT / "src" / "llama_index").exists()


@proves(59)
def test_the_official_client_is_no_requirement() -> None:
    names = [requirement.split(";")[0] for requirement in requires("chat-sessions") or []]
    assert [name for name in names if name.startswith(("llama-cloud", "llama_cloud"))] == []


def test_what_the_package_exports_is_there_and_sorted() -> None:
    names = chat_sessions.llama_index.__all__
    assert sorted(names) == names
    for name in names:
        assert getattr(chat_sessions.llama_index, name) is not None


@proves(42)
def test_a_delta_costs_little_where_nobody_listens() -> None:
    # Calls are counted: they are the same on every machine, and a second pass over what was told doubles them.
    assert (calls_to_read(2_000) - calls_to_read(1_000)) / 1_000 < 75


def calls_to_read(deltas: int) -> int:
    """The functions called while an answer of so many deltas is read."""
    told: tuple[Event, ...] = (
        *(TextDelta(content="word ") for _ in range(deltas)),
        Stop(usage=Usage(), is_error=False),
    )
    response = live(told)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for _ in response.response_gen:
            pass
    finally:
        sys.setprofile(before)
    return calls
