"""The server does what its OpenAPI document says, by schemathesis: every operation, every check, chains of requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from sysconfig import get_path
from typing import Any

import httpx
import pytest

from chat_sessions.server import ServerThread
from chat_sessions.server.api.app import create_app
from chat_sessions.server.documents.indexes import open_index
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits

DOCUMENTS = Path(__file__).parents[3] / "examples" / "documents"

# The one thing that is excused. A message whose body is valid may be refused with a 422: the sources of a session
# are locked after its first message, and no schema can say which they are. Where they are free it is excused no more.
LOCKED = """
[[operations]]
include-name = "POST /api/v1/chat/{session_id}/messages/stream"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "404", "409", "422", "429", "503"]
"""
# No operation makes documents: without this, attachments would be asked of sources alone that are not there.
KNOWN = """
[[operations]]
include-name = "GET /api/v1/beta/attachments"
parameters = {{ "query.source_id" = "{source_id}" }}

[[operations]]
include-name = "GET /api/v1/beta/attachments/{{attachment_name}}"
parameters = {{ "query.source_id" = "{source_id}", "path.attachment_name" = "{name}" }}

[[operations]]
include-name = "GET /attachments/{{source_id}}/{{attachment_name}}"
[operations.parameters]
"path.source_id" = "{source_id}"
"path.attachment_name" = "{name}"
"query.expires" = "{expires}"
"query.signature" = "{signature}"
"""


def known_attachment(server: ServerThread) -> str:
    """The part of the configuration that names an attachment which is there, and a link to it that works."""
    page = open_index("idx-docs", DOCUMENTS)
    source_id = next(document.file_id for document in page.documents if document.name.endswith(".pdf"))
    name = "screenshots/page_1.jpg"
    link = httpx.get(
        f"{server.url}/api/v1/beta/attachments/{name}",
        params={"source_id": source_id},
        headers={"Authorization": f"Bearer {server.api_key}"},
        trust_env=False,
        timeout=60,
    ).json()["url"]
    signed = httpx.URL(link).params
    return KNOWN.format(source_id=source_id, name=name, expires=signed["expires"], signature=signed["signature"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("behaviour", "excused", "is_known"),
    [(Behaviour(sources="free"), "", False), (Behaviour(sources="locked", title_route="gone"), LOCKED, True)],
    ids=["sources are free", "sources are locked"],
)
def test_the_server_answers_every_request_as_its_document_says(
    tmp_path: Path, behaviour: Behaviour, excused: str, is_known: bool
) -> None:
    config = tmp_path / "schemathesis.toml"
    with ServerThread(indexes={"idx-docs": DOCUMENTS}, behaviour=behaviour) as server:
        config.write_text((known_attachment(server) if is_known else "") + excused)
        ran = subprocess.run(
            [
                which("schemathesis", path=get_path("scripts")) or "schemathesis",
                f"--config-file={config}",
                "run",
                f"{server.url}/openapi.json",
                f"--header=Authorization: Bearer {server.api_key}",
                "--checks=all",
                "--phases=coverage,fuzzing,stateful",
                "--max-examples=40",
                # The same requests each time, and no verdict on how fast the machine is.
                "--seed=1",
                "--generation-database=none",
                "--suppress-health-check=all",
                "--request-timeout=60",
                "--continue-on-failure",
                "--no-color",
            ],
            cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"Tested: {len(responses(title_route=behaviour.title_route == 'present'))}\n" in ran.stdout


def responses(limits: Limits | None = None, *, title_route: bool = True) -> dict[str, set[str]]:
    """The statuses that the document declares, by operation."""
    found: dict[str, set[str]] = {}
    behaviour = Behaviour(title_route="present" if title_route else "gone")
    app = create_app(indexes={"idx-docs": DOCUMENTS}, limits=limits, behaviour=behaviour)
    paths: Any = app.openapi()["paths"]
    for operations in paths.values():
        for operation in operations.values():
            if isinstance(operation, dict):
                found[operation["operationId"]] = set(operation["responses"])
    return found


def test_what_only_a_limit_refuses_is_documented_where_there_is_that_limit() -> None:
    plain = responses()
    # Only so many pages are drawn at a time, with any limits.
    drawing = ["list_attachments", "attachment"]
    assert [name for name, found in plain.items() if "429" in found] == drawing
    assert "403" not in plain["create_session"]
    assert "403" in responses(Limits(sessions=1))["create_session"]
    running = responses(Limits(running_turns=1))
    assert {name for name, found in running.items() if "429" in found} == {"send_message", *drawing}
    paced = responses(Limits(requests_per_second=1))
    assert [name for name, found in paced.items() if "429" not in found] == ["health"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_no_page_of_documentation_is_served(path: str) -> None:
    """FastAPI's own would load their scripts from other hosts."""
    app = create_app(indexes={"idx-docs": DOCUMENTS})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        assert (await client.get(path)).status_code == 404


def test_the_document_names_no_other_host() -> None:
    document = json.dumps(create_app(indexes={"idx-docs": DOCUMENTS}).openapi())
    assert "http:" not in document
    assert "https:" not in document


_TRACED = """
import asyncio, sys
from pathlib import Path
import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from chat_sessions.server import create_app

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

async def main():
    app = create_app(indexes={"idx-docs": Path(sys.argv[1])}, api_key="key")
    headers = {"Authorization": "Bearer key"}
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app", headers=headers) as http:
            assert (await http.post("/api/v1/chat")).status_code == 201
            assert (await http.get("/api/v1/chat?page_size=x")).status_code == 422

asyncio.run(main())
print([span.name for span in spans.get_finished_spans()])
"""


def test_the_spans_of_whoever_traces_this_process_are_not_mixed_with_the_servers() -> None:
    command = [sys.executable, "-c", _TRACED, str(DOCUMENTS / "handbook.md")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "FASTAPI_OTEL_AUTO_CONFIGURE": "true"}
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
