// What LangChain in JavaScript reads from a message that Python wrote, as JSON.
import { coerceMessageLikeToMessage } from "@langchain/core/messages";

const message = coerceMessageLikeToMessage(JSON.parse(process.argv[2]));
console.log(
  JSON.stringify({
    kind: message.constructor.name,
    text: message.text,
    blocks: message.contentBlocks,
    beside: message.additional_kwargs,
    usage: message.usage_metadata,
    session: message.response_metadata.session_id,
    sources: message.response_metadata.sources,
  }),
);
