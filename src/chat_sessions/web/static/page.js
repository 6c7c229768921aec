// What HTML cannot do by itself: Enter sends, once; a sent message leaves the box; the newest words stay in view.
(() => {
  const message = document.getElementById("message");
  const say = (text) => {
    const status = document.getElementById("status");
    if (status) status.textContent = text;
  };
  let sent = null;

  const nearEnd = () => {
    const root = document.documentElement;
    return root.scrollHeight - root.scrollTop - root.clientHeight < 120;
  };
  const toEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("#message")) return;
    event.preventDefault();
    event.target.form.requestSubmit();
  });

  // Before htmx: what is being sent must not be sent again.
  document.addEventListener("submit", (event) => {
    if (event.target.id === "stop-form" && event.submitter?.matches(":focus-visible")) message.focus();
    if (!event.target.matches("[data-composer]")) return;
    if (sent !== null) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    sent = message.value;
    // A navigation that was stopped ends without an event.
    if (!event.target.hasAttribute("hx-post")) setTimeout(() => { sent = null; }, 10_000);
  }, true);
  window.addEventListener("pageshow", () => { sent = null; });

  document.addEventListener("htmx:after:request", (event) => {
    const { response, text } = event.detail.ctx;
    if (!event.target.matches?.("[data-composer]")) return;
    if (response.status === 204) {
      // What was typed since is the next message.
      message.value = message.value.startsWith(sent) ? message.value.slice(sent.length) : message.value;
      toEnd();
    } else if (response.headers.get("content-type")?.startsWith("text/plain")) say(text);
  });
  document.addEventListener("htmx:finally:request", (event) => {
    if (event.target.matches?.("[data-composer]")) sent = null;
  });
  document.addEventListener("htmx:error", (event) => {
    if (event.target.matches?.("[data-composer]")) say("The message was not sent: the page has no connection.");
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // The browser keeps the clipboard from this page.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
  });

  // The title may have come since the page did.
  document.getElementById("rename")?.addEventListener("beforetoggle", (event) => {
    const title = document.getElementById("title").textContent;
    if (event.newState === "open" && title !== "(no title)") document.getElementById("new-title").value = title;
  });

  // What was typed before the page had loaded is searched as well; htmx begins at this event, before this listener.
  document.addEventListener("DOMContentLoaded", () => {
    const search = document.getElementById("search");
    if (search && search.value !== search.defaultValue) search.dispatchEvent(new Event("input", { bubbles: true }));
  });

  const turns = document.getElementById("turns");
  if (turns) {
    // A browser has six connections to a host, and htmx opens them in hidden tabs as well.
    const connect = () => { if (!document.hidden) htmx.trigger(turns, "connect"); };
    document.addEventListener("DOMContentLoaded", connect);
    document.addEventListener("visibilitychange", connect);
    turns.addEventListener("htmx:sse:before:connection", (event) => { event.detail.connection.cancelled = document.hidden; });
    turns.addEventListener("htmx:sse:after:connection", (event) => {
      if (document.hidden) event.detail.connection.abortController.abort();
    });
    const sayLost = (code) => say(code === 401
      ? "The page was started again with another token. Open the address that was printed then."
      : "The page lost its connection and tries again…");
    turns.addEventListener("htmx:sse:error", (event) => sayLost(event.detail.status));
    // htmx connects again only what was connected once.
    let failures = 0;
    const connectLater = (event) => {
      if (event.target !== turns) return;
      sayLost(event.detail.ctx.response?.status);
      setTimeout(connect, Math.min(500 * 2 ** failures++, 60_000));
    };
    turns.addEventListener("htmx:response:error", connectLater);
    turns.addEventListener("htmx:error", connectLater);

    let follows = true;
    window.addEventListener("scroll", () => { follows = nearEnd(); }, { passive: true });
    new MutationObserver(() => { if (follows) toEnd(); }).observe(turns, { childList: true, subtree: true });
    const confirmation = document.getElementById("confirmation");
    new MutationObserver(() => { if (confirmation.querySelector("form")) toEnd(); }).observe(confirmation, { childList: true });
    toEnd();
    // A session that was just begun continues in its box, unless the user is elsewhere already.
    const isElsewhere = document.activeElement !== document.body;
    if (/\/sessions(\/new)?$/.test(document.referrer) && !isElsewhere) message.focus({ preventScroll: true });
  }
})();
