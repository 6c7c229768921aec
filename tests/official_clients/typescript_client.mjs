// What the official TypeScript client sees of a Chat API: one JSON object on standard output,
// in the form of python_client.py. The client finds the server by its own environment variables.

import LlamaCloud from "@llamaindex/llama-cloud";

const told = JSON.parse(process.argv[2]);
const index_ids = told.index_ids;
const scope = { project_id: "5a1c2a4e-3a0f-4b4e-9b0a-0d2f4c8b7e11", organization_id: null };

const client = new LlamaCloud();
const chat = told.resource.split(".").reduce((part, name) => part[name], client);

const newSession = async () => (await chat.create({ index_ids })).session_id;

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof LlamaCloud.APIError)) throw error;
    return { class: error.constructor.name, status: error.status, body: error.error };
  }
  return { class: null, status: null, body: null };
}

/** The lines of a turn, each as soon as it has arrived. */
async function* lines(session_id, prompt, params = {}) {
  const response = await chat.stream(session_id, { index_ids, prompt, ...params }).asResponse();
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of response.body) {
    rest += decoder.decode(bytes, { stream: true });
    const parts = rest.split(/\r?\n/);
    rest = parts.pop();
    yield* parts;
  }
}

async function* events(session_id, prompt, params) {
  for await (const line of lines(session_id, prompt, params)) {
    if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
  }
}

const collected = async (items) => {
  const all = [];
  for await (const item of items) all.push(item);
  return all;
};

// The listing comes first: it is to find its own sessions alone.
const parts = {
  async listing() {
    const made = [];
    for (let n = 0; n < 5; n++) made.push(await newSession());
    const listed = (await collected(chat.list({ page_size: 2, ...scope }))).map((item) => item.session_id);
    let page = await chat.list({ page_size: 2 });
    const sizes = [page.items.length];
    while (page.hasNextPage()) {
      page = await page.getNextPage();
      sizes.push(page.items.length);
    }
    return { made, listed, sizes, last_token: page.next_page_token };
  },

  async sessions() {
    const created = await chat.create({ index_ids, ...scope });
    const unbound = await chat.create();
    const summary = await chat.getSummary(created.session_id, scope);
    const whole = await chat.retrieve(created.session_id, scope);
    const deleted = (await chat.delete(created.session_id, scope)) ?? null;
    return {
      created,
      unbound,
      summary,
      whole,
      deleted,
      afterwards: await refusal(() => chat.getSummary(created.session_id)),
    };
  },

  async turn() {
    const session_id = await newSession();
    const received = await collected(lines(session_id, told.question, scope));
    const whole = await chat.retrieve(session_id);
    return { lines: received, history: whole.events, summary: await chat.getSummary(session_id) };
  },

  async buffered() {
    return await chat.stream(await newSession(), { index_ids, prompt: told.question });
  },

  async held() {
    const [session_id, other] = [await newSession(), await newSession()];
    const seen = [];
    let conflict = null;
    for await (const event of events(session_id, told.hold)) {
      seen.push(event);
      if (conflict === null) {
        // The answer goes on only when this has been asked, after its first event was read.
        conflict = await refusal(() =>
          chat.stream(session_id, { index_ids, prompt: told.question }, { maxRetries: 0 }),
        );
        await chat.stream(other, { index_ids, prompt: told.release });
      }
    }
    return { events: seen, conflict };
  },

  async attachments() {
    const session_id = await newSession();
    await collected(events(session_id, told.question));
    const { events: history } = await chat.retrieve(session_id);
    const { attachment_name: name, source_id } = history.find((event) => event.image_attachment).image_attachment;
    // No resource for attachments in this client: by its own way to call any route.
    const get = (name) =>
      client.get(`/api/v1/beta/attachments/${encodeURIComponent(name)}`, { query: { source_id, ...scope } });
    const link = await get(name);
    // No key: a link is good by itself.
    const opened = await fetch(link.url);
    return {
      name,
      listed: null,
      expires_at: link.expires_at,
      opened: {
        status: opened.status,
        type: opened.headers.get("content-type"),
        starts: Buffer.from(await opened.arrayBuffer()).toString("hex").slice(0, 6),
      },
      unknown: await refusal(() => get("screenshots/page_999.jpg")),
    };
  },

  async refusals() {
    const session_id = await newSession();
    const stranger = client.withOptions({ apiKey: "llx-not-the-key" }).beta.chat;
    const stream = (body) => () => chat.stream(session_id, { index_ids, prompt: "Hello.", ...body });
    const seen = {
      wrong_key: await refusal(() => stranger.create()),
      wrong_key_in_stream: await refusal(() => stranger.stream(session_id, { index_ids, prompt: "Hello." })),
      unknown_session: await refusal(() => chat.retrieve("ses-unknown")),
      unknown_session_in_stream: await refusal(() => chat.stream("ses-unknown", { index_ids, prompt: "Hello." })),
      unknown_session_in_delete: await refusal(() => chat.delete("ses-unknown")),
      empty_prompt: await refusal(stream({ prompt: "" })),
      long_prompt: await refusal(stream({ prompt: "x".repeat(1001) })),
      no_index: await refusal(stream({ index_ids: [] })),
      eleven_indexes: await refusal(() => chat.create({ index_ids: Array.from({ length: 11 }, (_, n) => `idx-${n}`) })),
      page_size: await refusal(() => chat.list({ page_size: 0 })),
    };
    await collected(events(session_id, told.question));
    seen.locked_sources = await refusal(stream({ index_ids: index_ids.slice(0, 1) }));
    return seen;
  },

  async missing_index() {
    const requested = [index_ids[0], "idx-gone"];
    const { session_id } = await chat.create({ index_ids: requested });
    await collected(events(session_id, told.question, { index_ids: requested }));
    return { skipped: (await chat.retrieve(session_id)).events.at(-1) };
  },

  async title() {
    const session_id = await newSession();
    const titled = await client.post(`/api/v1/chat/${session_id}/title`, { body: { first_message: told.question } });
    return { titled, summary: await chat.getSummary(session_id) };
  },
};

const seen = {};
for (const [name, part] of Object.entries(parts)) {
  try {
    seen[name] = { saw: await part() };
  } catch (error) {
    seen[name] = { raised: error.stack };
  }
}
console.log(JSON.stringify(seen));
