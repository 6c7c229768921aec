"""An agent of your own that is served as sessions: a workflow of LlamaIndex.

Serve it with `chat-sessions serve docs/ --agent examples.own_agents:workflow`.
"""

from __future__ import annotations

from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

HOURS = {"monday": "8:00 to 18:00", "saturday": "closed"}


class OpeningHours(Workflow):
    """Looks a day up; in your agent, this is where a model thinks."""

    @step
    async def answer(self, start: StartEvent) -> StopEvent:
        found = [f"{day.title()}: {hours}" for day, hours in HOURS.items() if day in start.user_msg.lower()]
        return StopEvent(result="\n".join(found) or "Which day?")


workflow = OpeningHours()
