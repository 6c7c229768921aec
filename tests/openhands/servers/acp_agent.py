"""An agent behind the Agent Client Protocol that says and does the same each time: JSON-RPC, one message a line.

The agent server starts it with an interpreter of its own, so it stands on the standard library alone.
"""

import json
import sys
from typing import Any


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def update(session_id: str, what: str, **fields: Any) -> None:
    told = {"sessionUpdate": what, **fields}
    send({"method": "session/update", "params": {"sessionId": session_id, "update": told}})


def prompt(session_id: str) -> None:
    update(session_id, "agent_thought_chunk", content={"type": "text", "text": "A look first."})
    call = {"toolCallId": "call-1", "title": "Look around", "kind": "read", "rawInput": {"path": "."}}
    update(session_id, "tool_call", **call, status="pending")
    update(session_id, "tool_call_update", toolCallId="call-1", status="in_progress")
    update(session_id, "tool_call_update", toolCallId="call-1", status="completed", rawOutput={"files": 3})
    for piece in ("Three ", "files."):
        update(session_id, "agent_message_chunk", content={"type": "text", "text": piece})


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or "method" not in request:
            continue
        params = request.get("params") or {}
        result: dict[str, Any] = {}
        if request["method"] == "initialize":
            result = {
                "protocolVersion": 1,
                "agentCapabilities": {"loadSession": False},
                "agentInfo": {"name": "scripted", "version": "1"},
                "authMethods": [],
            }
        elif request["method"] in ("session/new", "session/load"):
            result = {"sessionId": "acp-1"}
        elif request["method"] == "session/prompt":
            prompt(params["sessionId"])
            result = {"stopReason": "end_turn"}
        send({"id": request["id"], "result": result})


if __name__ == "__main__":
    main()
