// What AG-UI's client for browsers has after two runs of a thread: its messages, and the events of the first run.
import { HttpAgent } from "@ag-ui/client";

const agent = new HttpAgent({ url: process.argv[2], threadId: "ada" });
const tools = [];
let streamed = "";
for (const question of ["How was Q3?", "And Q4?"]) {
  agent.addMessage({ id: question, role: "user", content: question });
  streamed = "";
  await agent.runAgent(
    {},
    {
      onTextMessageContentEvent: ({ event }) => { streamed += event.delta; },
      onToolCallEndEvent: ({ toolCallName, toolCallArgs }) => { tools.push([toolCallName, toolCallArgs]); },
    },
  );
}
console.log(JSON.stringify({ streamed, tools, messages: agent.messages.map(({ role, content }) => [role, content]) }));
