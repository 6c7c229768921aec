"""An agent that says two words."""

from __future__ import annotations

import pytest

from tests.langchain.stage import TEXT, Stage


@pytest.fixture(autouse=True)
def short_answers(stage: Stage) -> None:
    stage.play(*TEXT)
