"""The code in the documentation runs, as it stands, in its order, with an empty home folder, with and without a key.

"With a key" means the environment that `chat-sessions serve` prints, over the example documents: what the documentation
says to do without an account. Without it, blocks that need a key, and those that go on from them, are counted apart.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

from chat_sessions import ConfigurationError, LocalServer

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^```[ ]?(?:python(?:[ ]title=\"(?P<title>[^\"]*)\")?|\{[ ](?P<attributes>[^}]*)\})\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
TITLES = {"no key", "needs a key", "file", "notebook", "file, no key", "notebook, no key"}
NOT_RUN = {
    "needs-openhands": "it needs an OpenHands Agent Server",
    "needs-openhands-1-18": "it needs an old OpenHands Agent Server",
    "fragment": "it is a part of a program of the reader's",
    "example": "it is a file of `examples`, which tests of its own run",
    "runs-forever": "it serves until it is interrupted",
    "global-effect": "it changes the process for every other test; the adapter's own tests run it",
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    code: str
    title: str
    attributes: tuple[str, ...]

    @property
    def runs(self) -> bool:
        return not self.attributes

    @property
    def has_no_key(self) -> bool:
        return "no key" in self.title


def blocks_in(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            str(page.relative_to(ROOT)),
            text.count("\n", 0, match.start("code")),
            match["code"],
            match["title"] or "",
            tuple((match["attributes"] or "").split()),
        )
        for match in FENCE.finditer(text)
    ]


BLOCKS = {
    str(page.relative_to(ROOT)): found
    for page in sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
    if (found := blocks_in(page))
}
WAYS = ("with a key", "without a key")
NEEDS_KEY = "it needs a key, or goes on from a block that does"
RAN: dict[str, Counter[str]] = {way: Counter() for way in WAYS}
LEFT_OUT: Counter[str] = Counter()


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(indexes={"idx-docs": ROOT / "examples" / "documents"}) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no settings of this project's."""
    for name in list(os.environ):
        if name.startswith(("LLAMA_", "CHAT_SESSIONS_", "OPENHANDS_", "OPENAI_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def untraced() -> Iterator[None]:
    """Ends the tracing that a page begins and does not end: without a key it does not get so far."""
    yield
    for instrumentor in (LlamaIndexInstrumentor(), LangChainInstrumentor()):
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


# LlamaIndex's own workflow agents, from pydantic 2.14 on.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if any(block.runs for block in blocks)])
@pytest.mark.usefixtures("home", "untraced")
def test_the_code_of_the_page_runs(page: str, way: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # A module, as what a page defines is looked up in one (the annotations of a TypedDict are).
    module = ModuleType("documentation_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    has_failed = False
    for block in BLOCKS[page]:
        if not block.runs:
            continue
        for name, value in (("LLAMA_CLOUD_API_KEY", server.api_key), ("LLAMA_CLOUD_BASE_URL", server.url)):
            if block.has_no_key or way == "without a key":
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        code = compile("\n" * block.line + block.code, str(ROOT / page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            result = eval(code, module.__dict__)
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except (ConfigurationError, NameError) as error:
            # A name is missing only if the block that makes it needs a key.
            if block.has_no_key or way == "with a key" or not (has_failed or "LLAMA_CLOUD_API_KEY" in str(error)):
                raise
            has_failed = True
            LEFT_OUT[page] += 1
        else:
            RAN[way][page] += 1


def test_every_block_ran_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = Counter(
        attribute.removeprefix(".")
        for blocks in BLOCKS.values()
        for block in blocks
        for attribute in block.attributes
        if attribute not in (".python", ".no-run")
    )
    assert set(left_out) == set(NOT_RUN)
    for blocks in BLOCKS.values():
        for block in blocks:
            assert block.runs or (len(block.attributes) == 3 and block.attributes[:2] == (".python", ".no-run")), block
    if not all(RAN.values()):
        pytest.skip("the pages were not run in this process")
    with capsys.disabled():
        for way, ran in RAN.items():
            print(f"\n{way}: {sum(ran.values())} blocks of {len(ran)} pages ran: {dict(ran)}")
        print(f"{sum(LEFT_OUT.values())} not run without a key: {NEEDS_KEY}")
        for reason, count in left_out.items():
            print(f"{count} not run: {NOT_RUN[reason]}")
    expected = Counter({page: sum(block.runs for block in blocks) for page, blocks in BLOCKS.items()})
    assert RAN["with a key"] == +expected
    assert RAN["without a key"] + LEFT_OUT == +expected


@pytest.mark.parametrize("page", BLOCKS)
def test_a_block_that_runs_in_one_place_only_says_where(page: str) -> None:
    for block in BLOCKS[page]:
        if not block.runs:
            continue
        assert block.title in TITLES | {""}, block
        try:
            compile(block.code, page, "exec")
        except SyntaxError:
            assert block.title.startswith("notebook"), block
        else:
            assert not block.title.startswith("notebook"), block
        assert ("asyncio.run(" in block.code) == block.title.startswith("file"), block


def test_the_way_to_a_first_answer_needs_no_key_in_each_framework() -> None:
    first = [block for block in BLOCKS["README.md"] if block.has_no_key]
    assert ["llama_index" in first[0].code, "langchain" in first[1].code] == [True, True]
    assert [block.code.count("\n") for block in first] == [5, 5]
    with_key = [block for block in BLOCKS["README.md"] if block.title == "needs a key"]
    assert [len(ast.parse(block.code).body) for block in with_key] == [3, 3]
    for page in ("docs/start/llama-index.md", "docs/start/langchain.md", "docs/start/own-files.md"):
        assert [block for block in BLOCKS[page] if not block.has_no_key and block.title != "needs a key"] == []
