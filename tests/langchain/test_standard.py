"""LangChain's own suites for chat models and tools, against the local server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ChatModelIntegrationTests, ToolsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, ToolsUnitTests

from chat_sessions import LlamaCloudChat
from chat_sessions.langchain import SessionChatModel, SessionTool
from tests.langchain.stage import TEXT, open_stage

pytestmark = [
    pytest.mark.checklist(55),
    # The suites send stop sequences and conversations of other models, and call the deprecated `.dict()`.
    pytest.mark.filterwarnings("ignore::chat_sessions.langchain.SessionInputWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning"),
]


class _Truths:
    """What is true of the model, for both suites: each skip follows from one of these."""

    client: LlamaCloudChat

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def a_server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with open_stage(tmp_path_factory.mktemp("standard")) as stage:
            stage.play(*TEXT)
            cls.client = stage.client
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return SessionChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"client": self.client}

    @property
    def has_tool_calling(self) -> bool:
        return False  # the tools of a session are its service's

    @property
    def has_tool_choice(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False  # a session answers in words

    @property
    def supports_model_override(self) -> bool:
        return False  # the service chooses the model


@pytest.fixture
def benchmark() -> Callable[..., Any]:
    """Runs what the suites would time: the time itself is no business of a test."""
    return lambda timed, *args, **kwargs: timed(*args, **kwargs)


@pytest.fixture
def among_langchains_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`allowed_objects="all"` of `load` means all that LangChain lists, and it lists no third party."""
    load = import_module("langchain_core.load.load")  # the package has a function of that name
    listed = load._get_default_allowed_class_paths("all")
    monkeypatch.setitem(load._default_class_paths_cache, "all", {*listed, tuple(SessionChatModel.lc_id())})


@pytest.mark.usefixtures("among_langchains_own")
class TestUnit(_Truths, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"LLAMA_CLOUD_API_KEY": "llx-test"}, {"session_id": "ses-1"}, {"session_id": "ses-1"}


class TestIntegration(_Truths, ChatModelIntegrationTests):
    pass


class _Tool:
    client: LlamaCloudChat

    a_server = _Truths.a_server

    @property
    def tool_constructor(self) -> type[BaseTool]:
        return SessionTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {"model": SessionChatModel(client=self.client)}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "What grew?"}


class TestToolUnit(_Tool, ToolsUnitTests):
    pass


class TestToolIntegration(_Tool, ToolsIntegrationTests):
    pass


def test_the_suites_were_not_overridden() -> None:
    assert Path(__file__).name == "test_standard.py"
    for suite in (TestUnit, TestIntegration, TestToolUnit, TestToolIntegration):
        assert not [name for name in vars(suite) if name.startswith("test_")]
