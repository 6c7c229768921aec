"""The notebooks run, and show what is in them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from scripts.notebooks import FOLDER, code_cells, run

PNG = b"\x89PNG"


@pytest.mark.parametrize("name", ["llama_index", "langchain"])
def test_the_notebook_shows_what_it_was_saved_with(name: str) -> None:
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    shown = run(notebook, FOLDER)
    assert [texts(cell) for cell in shown] == [texts(cell["outputs"]) for cell in code_cells(notebook)]
    for outputs in (shown, [cell["outputs"] for cell in code_cells(notebook)]):
        (picture,) = [output["data"]["image/png"] for cell in outputs for output in cell if "data" in output]
        assert base64.b64decode(picture).startswith(PNG)


def test_each_notebook_is_run_and_on_its_page() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {"llama_index", "langchain"}
    page = (Path(__file__).parents[2] / "docs" / "recipes" / "notebooks.md").read_text()
    assert [name for name in ("llama_index", "langchain") if f"examples/notebooks/{name}.ipynb" not in page] == []


def texts(outputs: list[dict[str, Any]]) -> list[str]:
    """What was printed, and what else was shown."""
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]
