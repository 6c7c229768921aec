from __future__ import annotations

import ast
from pathlib import Path

from tests.llama_index.checklist import CHECKLIST


def _proofs() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "proves":
                    for argument in mark.args:
                        assert isinstance(argument, ast.Constant)
                        assert isinstance(argument.value, int)
                        assert node.name.startswith("test_"), f"{path.name}: {node.name} proves nothing, it is no test"
                        found.setdefault(argument.value, []).append(f"{path.name}::{node.name}")
    return found


def test_every_item_of_the_checklist_has_a_test() -> None:
    assert sorted(set(CHECKLIST) - set(_proofs())) == []


def test_no_test_claims_an_item_that_is_not_on_the_checklist() -> None:
    assert sorted(set(_proofs()) - set(CHECKLIST)) == []


def test_the_checklist_has_no_gap() -> None:
    assert sorted(CHECKLIST) == list(range(1, 61))
