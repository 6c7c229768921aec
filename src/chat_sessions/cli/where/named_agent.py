"""An agent of the user's own, named as `module:object`."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat_sessions.cli.errors import UnknownName
from chat_sessions.core.errors import ConfigurationError

if TYPE_CHECKING:
    from chat_sessions.server import Agent

__all__ = ["named_agent"]


def named_agent(name: str) -> Agent:
    """Import an agent, a workflow of LlamaIndex or a compiled graph of LangGraph, as uvicorn imports an app.

    Raises `ConfigurationError` for anything else, and `UnknownName` if the module or the object does not exist.
    """
    module_name, colon, attributes = name.partition(":")
    if not (module_name and colon and attributes):
        raise ConfigurationError(f"--agent {name}: name a module and the object in it, such as my_agents:support")
    # An installed command does not search the current folder for modules.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"--agent {name}: {module_name} needs {error.name}, which is not installed"
            ) from error
        raise UnknownName(
            f"--agent {name}: there is no module {module_name}, neither installed nor in {here}"
        ) from None
    except Exception as error:
        # The module is the user's, and so is what it raises.
        raise ConfigurationError(
            f"--agent {name}: {module_name} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise UnknownName(f"--agent {name}: there is no {attribute} in {module_name}")
        found = getattr(found, attribute)
    return _as_agent(name, found)


def _as_agent(name: str, found: Any) -> Agent:
    if inspect.isasyncgenfunction(getattr(found, "run", None)) and not inspect.isclass(found):
        agent: Agent = found
        return agent
    # An object of a framework can exist only if the framework is loaded.
    if "llama_index.core" in sys.modules:
        from llama_index.core.workflow import Workflow

        from chat_sessions.llama_index import WorkflowAgent

        if isinstance(found, Workflow):
            return WorkflowAgent(found)
    if hasattr(found, "astream") and hasattr(found, "aget_state"):
        from chat_sessions.langchain import GraphAgent

        graph: Any = found
        return GraphAgent(graph)
    if inspect.isclass(found):
        raise ConfigurationError(f"--agent {name}: that is the class {found.__name__}: name an instance of it")
    raise ConfigurationError(
        f"--agent {name}: {type(found).__name__} is not an agent: name an object with `async def run(self, turn)` that "
        "yields events, an agent or workflow of LlamaIndex, or a compiled graph of LangGraph"
    )
