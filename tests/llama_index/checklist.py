"""What this adapter promises, item by item, and the mark that a test proves one.

`test_checklist.py` holds that every item has a test and that no test claims an item that is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Test = TypeVar("_Test", bound=Callable[..., object])

CHECKLIST: dict[int, str] = {
    # The engine and its streaming response
    1: "a BaseChatEngine that can be made without a session, with a callback_manager",
    2: "chat and achat give an AgentChatResponse: final text, session_id and usage in its metadata",
    3: "stream_chat and astream_chat give a StreamingAgentChatResponse",
    4: "response_gen gives the text deltas byte for byte, without thinking",
    5: "a final after its deltas shows nothing twice; a final without deltas is shown once",
    6: "the first token is given before the service sends the second",
    7: "waiting on a silent stream costs next to no CPU",
    8: "close, or leaving the loop, closes the socket at once and leaves no thread and no task",
    9: "cancelling the reading task raises CancelledError and closes the socket",
    10: "a response that is dropped unread closes its socket, without a warning and without holding up the exit",
    11: "an error after k tokens comes after exactly k tokens, and is kept in `exception`",
    12: "a turn that the service failed raises with the partial text on all four methods; so does a missing stop",
    13: "an interruption in the transport leaves no reader hanging",
    14: "a silent service raises at the idle deadline",
    15: "two readings of a response, and two readers at once, get the same tokens",
    16: "async code reads a sync response; sync code is refused an async one at once",
    17: "awrite_response_to_history_task completes the response",
    18: "chat_stream and achat_stream give ChatResponses; the last has the usage",
    19: "str is the text so far, then the stripped text; is_function is False",
    20: "print_response_stream and both repls work and delete no session",
    21: "401, 404, 409 and 422 are raised by stream_chat itself",
    22: "sources has an output per tool result, source_nodes the passages; any result is survived",
    23: "chat_history None, [], equal and different follow a policy; nothing is ignored in silence",
    24: "reset begins another session; the old one is still there",
    25: "chat_history is what the session holds, also after an abandoned turn, in new objects each time",
    26: "two engines do not mix; a second turn on a session waits for the first",
    27: "works from a thread without a loop, inside a running loop, and under a new loop each time",
    28: "unknown events and fields, and events without a type, are tolerated",
    # Instrumentation
    29: "one trace per turn on all four methods, under an outer span and read in another thread",
    30: "the root is an AGENT span with the question and the answer, and lasts as long as the stream",
    31: "a TOOL span per tool run; runs that overlap are siblings",
    32: "the LLM span has the turn's token counts",
    33: "a retrieval has a RETRIEVER span with its documents",
    34: "the reader's current span is never changed",
    35: "abandoned, cancelled and failed turns leave no open span, and end as errors",
    36: "StreamChatStart once, a Delta per text delta, End or Error once, each with its span's id",
    37: "instrument_tags of the call are on every span",
    38: "LlamaDebugHandler sees a chat trace with LLM and FUNCTION_CALL pairs",
    39: "TokenCountingHandler counts what the service counted, and copes with counts that are missing",
    40: "an error of a legacy handler comes out and closes the socket; one of a dispatcher's handler is not seen",
    41: "no key in any event, span, dict, repr or pickle",
    42: "a delta costs little where nobody listens",
    # Memory and messages
    43: "SessionMemory is a BaseMemory that goes through dict, JSON and pickle, and takes a client again",
    44: "the sync and the async methods agree; the async ones use no thread and no sync request",
    45: "what is there may be put; all else raises and sends nothing",
    46: "from_summary takes summaries without any of the optional fields",
    47: "list and alist fetch pages as they are needed",
    48: "blocks work inside Memory, also with a new event loop each time",
    49: "every message goes through JSON and back",
    50: "tool messages follow the call, with its id and name, also where the result is missing",
    51: "thinking is a ThinkingBlock and never content; contiguous text is one block",
    52: "a page image survives serialisation, and its link is asked for late and again after it has expired",
    # Agent, tool and packaging
    53: "the agent streams calls, results and deltas in order, alone and within an AgentWorkflow",
    54: "cancel_run closes the socket; an error is raised by awaiting the handler",
    55: "AgentStream and the agent's own output have no tool_calls",
    56: "a tool result of the agent has source nodes",
    57: "as_tool gives text and a Response, each call on its own",
    58: "the package is imported without LlamaIndex, and this adapter without LangChain",
    59: "needs neither llama-cloud nor a version of it",
    60: "the lowest and the latest core are supported, with the newer tool events or without",
}


def proves(*items: int) -> Callable[[_Test], _Test]:
    """Mark a test as the proof of these items."""

    def mark(test: _Test) -> _Test:
        return test

    for item in items:
        if item not in CHECKLIST:
            raise ValueError(f"there is no item {item} on the checklist")
    return mark
