"""The service whose answers the consumers show, and which folders of tests this environment has the packages for.

`make consumers` installs each folder's `requirements.txt` into an environment of its own and runs the folder there. In
any other environment the tests are not even imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from chat_sessions import LocalServer
from tests.consumers.service import PASSAGE, Researcher, Service

_HERE = Path(__file__).parent
# One package of each folder that no other environment has.
_PACKAGES = {"graphs": "langgraph_supervisor", "pages": "chainlit", "traces": "langfuse"}

collect_ignore = [str(_HERE / folder) for folder, package in _PACKAGES.items() if find_spec(package) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.consumers)
            # The first import of a consumer takes a minute on a busy machine.
            item.add_marker(pytest.mark.timeout(600))
            # What consumers warn of is theirs; a warning of this project's stays an error.
            item.add_marker(pytest.mark.filterwarnings("error::chat_sessions.langchain.SessionInputWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def researcher() -> Researcher:
    return Researcher()


@pytest.fixture(scope="session")
def server(researcher: Researcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "report.md").write_text(f"# Report\n\n{PASSAGE}\n")
    with LocalServer(indexes={"idx-docs": folder}, agent=researcher) as running:
        yield running


@pytest.fixture
def service(server: LocalServer, researcher: Researcher, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service, which has been asked nothing yet; processes that the test starts find it in their environment."""
    researcher.asked.clear()
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", server.url)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", server.api_key)
    return Service(server, researcher)
