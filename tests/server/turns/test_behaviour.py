from __future__ import annotations

from typing import Any

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.turns.behaviour import Behaviour


def test_a_behaviour_is_a_value() -> None:
    assert Behaviour() == Behaviour(event_names="kind")
    assert len({Behaviour(), Behaviour(finals="only"), Behaviour()}) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"event_names": "kinds"}, "Behaviour(event_names='kinds'): use one of 'kind', 'type', 'none'"),
        ({"event_ids": 1}, "Behaviour(event_ids=1): use one of True, False"),
        ({"title_status": 500}, "Behaviour(title_status=500): use one of 404, 405"),
        (
            {"default_shared_access": "all"},
            "Behaviour(default_shared_access='all'): use one of 'query', 'read_only', None",
        ),
        ({"keep_alive": 0}, "Behaviour(keep_alive=0): use seconds above 0, or None for no keep-alives"),
        ({"keep_alive": float("nan")}, "Behaviour(keep_alive=nan): use seconds above 0, or None for no keep-alives"),
    ],
)
def test_a_value_that_a_switch_does_not_have_is_an_error(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Behaviour(**options)
    assert str(caught.value) == said
