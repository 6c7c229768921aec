"""What `on_confirmation` may return."""

from __future__ import annotations

from typing import Any, cast

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.openhands.confirmation import ConfirmationRequest
from chat_sessions.openhands.live.async_websocket import async_answer_of
from chat_sessions.openhands.live.websocket import answer_of

REQUEST = ConfirmationRequest(session_id="s", actions=())


@pytest.mark.parametrize("answer", [None, 1, b"yes"])
async def test_what_is_no_answer_is_refused_alike_by_both_faces(answer: object) -> None:
    async def awaited(request: ConfirmationRequest) -> Any:
        return answer

    def said(request: ConfirmationRequest) -> Any:
        return answer

    with pytest.raises(ConfigurationError, match="must return True, False or a reason"):
        answer_of(said, REQUEST)
    for on_confirmation in (said, awaited):
        with pytest.raises(ConfigurationError, match="must return True, False or a reason"):
            await async_answer_of(cast("Any", on_confirmation), REQUEST)
