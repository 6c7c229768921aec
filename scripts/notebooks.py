"""Run the notebooks of `examples/notebooks`, and keep what they show in them: `python scripts/notebooks.py`.

A cell runs as in Jupyter, with `await` at its top level, what it prints, and the value of its last line. It needs no
kernel, so no package of Jupyter's.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import inspect
import io
import json
import os
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
_AWAITS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def run(notebook: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """Run the code cells in their order, in the folder. Return the outputs of each; raises what a cell raises."""
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs: list[list[dict[str, Any]]] = []
    with chdir(folder), asyncio.Runner() as loop:
        for number, cell in enumerate(code_cells(notebook), 1):
            tree = ast.parse("".join(cell["source"]), f"cell {number}")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            printed, value = io.StringIO(), None
            with redirect_stdout(printed):
                _evaluate(compile(tree, f"cell {number}", "exec", flags=_AWAITS), names, loop)
                if isinstance(last, ast.Expr):
                    value = _evaluate(
                        compile(ast.Expression(last.value), f"cell {number}", "eval", flags=_AWAITS), names, loop
                    )
            outputs.append(_outputs(printed.getvalue(), value, number))
    return outputs


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """List the cells that run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _evaluate(code: Any, names: dict[str, Any], loop: asyncio.Runner) -> Any:
    result = eval(code, names)
    return loop.run(result) if inspect.iscoroutine(result) else result


def _outputs(printed: str, value: Any, number: int) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data: dict[str, Any] = {"text/plain": [repr(value).partition(" at 0x")[0]]}
        if hasattr(value, "_repr_png_"):
            data["image/png"] = base64.b64encode(value._repr_png_()).decode()
        outputs.append({"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}})
    return outputs


def main() -> None:
    """Run every notebook, and write its outputs into it."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for number, (cell, outputs) in enumerate(zip(code_cells(notebook), run(notebook, FOLDER), strict=True), 1):
            cell.update(execution_count=number, outputs=outputs)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path.relative_to(Path(os.path.curdir).resolve()))


if __name__ == "__main__":
    main()
