// Every dialog: closed by what is marked so, and by a click beside it.
document.addEventListener("click", (event) => {
  const dialog = event.target.closest?.("dialog");
  if (!dialog || dialog.id === "batch-dialog") return;
  const box = dialog.getBoundingClientRect();
  const isBeside = event.target === dialog && event.detail > 0 && (event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom);
  if (!isBeside && !event.target.closest("[data-dismiss], [data-close]")) return;
  event.preventDefault();
  dialog.close();
});

// The details dialog of a list: a row opens it, the address follows, Back closes it.
(() => {
  let opener; // the link that opened it
  const dialog = () => document.getElementById("batch-dialog");
  const list = () => document.getElementById("history-jobs");
  const here = () => location.pathname + location.search;
  const listPath = () => list()?.getAttribute("hx-get");

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#batch-dialog [data-close]") || event.target === dialog()) return leave();
    const row = event.target.closest("[data-opens]");
    if (!row || event.defaultPrevented || event.target.closest("a, button, input, select, label")) return;
    if (!getSelection().isCollapsed) return; // the reader marks text
    row.querySelector("a").dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey: event.ctrlKey, metaKey: event.metaKey, shiftKey: event.shiftKey }));
  });

  // Up and Down walk the rows; Enter opens the one that has the focus, as on any link.
  document.addEventListener("keydown", (event) => {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const row = step && event.target.closest?.("[data-opens]");
    const link = row?.[step]?.querySelector("a");
    if (!link || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    link.focus();
  });

  document.addEventListener("htmx:after:swap", (event) => {
    const { sourceElement, target, response } = event.detail.ctx;
    if (!dialog() || !response || response.status >= 400 || target?.id !== "batch") return;
    if (!sourceElement.closest?.("[data-opens]") || dialog().open) return;
    opener = sourceElement;
    dialog().showModal();
    dialog().scrollTop = 0;
  });

  // Closing goes back to the list's address; the list itself is still there and is not fetched again.
  const leave = () => (here() === listPath() ? dialog().close() : history.back());
  document.addEventListener("cancel", (event) => {
    if (event.target !== dialog()) return;
    event.preventDefault();
    leave();
  }, true);
  document.addEventListener("close", (event) => {
    if (event.target === dialog() && here() !== listPath()) history.back();
  }, true);
  document.addEventListener("htmx:before:history:restore", (event) => {
    if (!list()) return;
    const path = event.detail.path;
    if (path === listPath()) {
      event.preventDefault();
      if (dialog().open) dialog().close();
      opener?.focus({ preventScroll: true });
      return;
    }
    const link = [...list().querySelectorAll("[data-opens] a")].find((each) => each.getAttribute("href") === path);
    if (!link) return;
    event.preventDefault(); // Forward: open it again over the list
    htmx.ajax("GET", path, { source: link, target: "#batch", swap: "outerHTML", push: "false" });
  });
})();
