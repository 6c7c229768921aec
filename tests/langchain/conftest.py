"""A stage for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chat_sessions import Timeouts
from chat_sessions.server import Behaviour
from tests.langchain.stage import House, Opener, Recorder, Stage, open_stage


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "checklist(*items): the items of checklist.toml that the test proves")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # LangChain says of its v3 streams, wherever they are used, that they are a beta.
    beta = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(beta)


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The server that most tests share."""
    house = House(tmp_path_factory.mktemp("house"))
    with house.server:
        yield house


@pytest.fixture
def stage(house: House) -> Iterator[Stage]:
    """The shared server with the default behaviour, and a scripted agent of the test's own."""
    with house.stage() as stage:
        yield stage


@pytest.fixture
def open_with(tmp_path: Path) -> Iterator[Opener]:
    """Opens servers of the test's own: without the sessions of others, with other behaviours."""
    with ExitStack() as stages:

        def opened(behaviour: Behaviour | None = None, timeouts: Timeouts | None = None) -> Stage:
            folder = tmp_path / f"stage-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stages.enter_context(open_stage(folder, behaviour, timeouts))

        yield opened


@pytest.fixture
def recorder() -> Recorder:
    """A handler that notes what it is told."""
    return Recorder()
