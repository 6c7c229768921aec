// What HTML cannot do by itself: Enter sends, a sent message leaves the box, the newest words stay in view.
(() => {
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

  document.addEventListener("htmx:after:request", (event) => {
    const form = event.target;
    if (form.matches?.("[data-composer]") && event.detail.ctx.response?.status === 204) {
      form.reset();
      toEnd();
    }
  });

  document.addEventListener("htmx:sse:error", () => {
    const status = document.getElementById("status");
    if (status) status.textContent = "The page lost its connection and tries again…";
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

  const turns = document.getElementById("turns");
  if (turns) {
    let follows = true;
    window.addEventListener("scroll", () => { follows = nearEnd(); }, { passive: true });
    new MutationObserver(() => { if (follows) toEnd(); }).observe(turns, { childList: true, subtree: true });
    const confirmation = document.getElementById("confirmation");
    new MutationObserver(() => { if (confirmation.querySelector("form")) toEnd(); }).observe(confirmation, { childList: true });
    toEnd();
  }
})();
