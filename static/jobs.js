// The list of jobs: what is open, the search box with its suggestions, dialogs, and the keys of its own.
(() => {
  const $ = (id) => document.getElementById(id);
  const list = () => $("jobs-list");
  const rows = () => [...document.querySelectorAll(".joblist-row")];
  const openId = () => new URLSearchParams(location.search).get("job");
  const idOf = (target) => (typeof target === "string" ? target.replace("#", "") : target?.id); // the answer may name it

  // Which row is open is said by the address.
  function markOpen() {
    if (!list()) return;
    const id = openId();
    for (const row of rows()) {
      if (row.dataset.job === id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    document.querySelectorAll("[data-back]").forEach((link) => link.setAttribute("href", listUrl()));
  }
  function listUrl() {
    const query = new URLSearchParams(location.search);
    query.delete("job");
    return location.pathname + (query.size ? `?${query}` : "");
  }

  function emptyPanel() {
    $("job-panel").innerHTML = $("panel-empty").innerHTML;
    document.dispatchEvent(new Event("job-panel-emptied"));
  }

  // The form follows the address where something else changed that.
  function followAddress() {
    const form = $("jobs-filters");
    if (!form) return;
    const query = new URLSearchParams(location.search);
    for (const control of form.querySelectorAll("[name]")) {
      if (control.name === "zone") continue;
      const said = query.get(control.name.replace(/-at$/, "")) ?? "";
      // A day alone: the server has said it as a time.
      if (control.type === "datetime-local") { if (said.length !== 10) control.value = stoker.field(said); }
      else if (control !== document.activeElement || control.tagName === "SELECT") control.value = said;
    }
    $("jobs-q-clear").hidden = !$("jobs-q").value;
  }
  function mistake(isOne) {
    if (!isOne) $("search-error")?.replaceChildren();
    const field = $("search-error")?.querySelector("[data-param]")?.dataset.param;
    for (const control of document.querySelectorAll("#jobs-filters :is([name=q], [name=from], [name=to])")) {
      if (control.name === "q" || control.name === field) control.setAttribute("aria-invalid", String(control.name === field));
      else control.removeAttribute("aria-invalid");
    }
  }

  document.addEventListener("htmx:after:swap", (event) => {
    const { target, response, sourceElement } = event.detail.ctx;
    const place = idOf(target);
    if (place === "search-error") return mistake(true);
    if (!response || response.status >= 400) return;
    if (place === "jobs-results") {
      mistake(false);
      if (!sourceElement.closest("#jobs-filters")) followAddress();
    }
    if (place === "job-panel") $("job-panel").scrollTop = 0;
  });
  for (const event of ["htmx:after:swap", "htmx:after:history:push", "htmx:after:history:replace", "htmx:after:history:update"]) document.addEventListener(event, markOpen);

  // An address that is there already is not pushed once more.
  document.addEventListener("htmx:before:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (sourceElement.id !== "jobs-filters" && sourceElement.id !== "jobs-q") return;
    const asked = new URL(request.action, location.href);
    if (asked.pathname + asked.search === listUrl() && !openId() && $("search-error").childElementCount === 0) event.preventDefault();
  });
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (sourceElement.id !== "jobs-q" && sourceElement.id !== "jobs-filters") return;
    const range = request.body.get("range");
    const isUnasked = { time: !range };
    for (const name of ["from", "to", "from-at", "to-at", "zone"]) isUnasked[name] = range !== "dates";
    for (const [name, value] of [...request.body]) if (!value || isUnasked[name]) request.body.delete(name);
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "jobs-q") event.stopPropagation(); // it was asked for while it was typed
  }, true);

  // Back and Forward between jobs of one list: the list stays as it is.
  document.addEventListener("htmx:before:history:restore", (event) => {
    if (!list() || !$("job-panel")) return;
    const to = new URL(event.detail.path, location.href);
    const id = to.searchParams.get("job");
    to.searchParams.delete("job");
    const shown = new URL(list().getAttribute("hx-get"), location.href);
    to.searchParams.sort();
    shown.searchParams.delete("job");
    shown.searchParams.sort();
    if (to.pathname !== shown.pathname || to.searchParams.toString() !== shown.searchParams.toString()) return;
    event.preventDefault();
    markOpen();
    if (id) htmx.ajax("GET", `${shown.pathname}/${encodeURIComponent(id)}`, { source: $("job-panel"), target: "#job-panel", swap: "innerHTML", push: "false" });
    else emptyPanel();
  });

  // Suggestions: a list under the box; arrows walk it, Enter and Tab take one, Escape closes it.
  let asking;
  let timer;
  let isHalf = false; // a field was taken, and its value is still to come
  const box = () => $("jobs-suggestions");
  const options = () => [...box().querySelectorAll("[role=option]")];
  const chosen = () => box().querySelector("[aria-selected=true]");

  function close() {
    asking?.abort();
    clearTimeout(timer);
    if (!box()) return;
    box().hidden = true;
    $("jobs-q").setAttribute("aria-expanded", "false");
    $("jobs-q").removeAttribute("aria-activedescendant");
  }
  function choose(option) {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    if (option) $("jobs-q").setAttribute("aria-activedescendant", option.id);
  }
  async function suggest() {
    const input = $("jobs-q");
    if (document.activeElement !== input || input.selectionEnd !== input.value.length) return close();
    asking?.abort();
    asking = new AbortController();
    try {
      const answer = await fetch(`${box().dataset.url}?q=${encodeURIComponent(input.value)}`, { headers: { "HX-Request": "true", "HX-Request-Type": "partial" }, signal: asking.signal });
      const text = await answer.text();
      if (!answer.ok || document.activeElement !== input) return close();
      box().innerHTML = text;
    } catch {
      return;
    }
    const has = options().length > 0;
    box().hidden = !has;
    input.setAttribute("aria-expanded", String(has));
    input.removeAttribute("aria-activedescendant");
  }
  function take(option) {
    const input = $("jobs-q");
    input.value = option.dataset.text;
    close();
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
    isHalf = !("complete" in option.dataset);
    if (!isHalf) input.dispatchEvent(new Event("input", { bubbles: true }));
    else suggest();
  }
  // What was typed before a field was taken is still on its way: a field without its value is no search.
  document.addEventListener("htmx:before:request", (event) => {
    if (isHalf && event.detail.ctx.sourceElement.id === "jobs-q") event.preventDefault();
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "jobs-q") return;
    $("jobs-q-clear").hidden = !event.target.value;
    isHalf = false;
    clearTimeout(timer);
    timer = setTimeout(suggest, 150);
  });
  document.addEventListener("focusin", (event) => { if (event.target.id === "jobs-q" && event.target.value === "") suggest(); });
  document.addEventListener("focusout", (event) => { if (event.target.id === "jobs-q") close(); });
  document.addEventListener("pointerdown", (event) => {
    const option = event.target.closest?.("#jobs-suggestions [role=option]");
    if (!option) return;
    event.preventDefault(); // the box keeps the focus
    take(option);
  });

  function clearAll() {
    const form = $("jobs-filters");
    form.querySelectorAll("[name]").forEach((control) => { control.value = ""; });
    $("jobs-q-clear").hidden = true;
    close();
    htmx.trigger(form, "submit");
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "jobs-q" || event.isComposing) return;
    const isOpen = !box().hidden;
    const all = options();
    if (event.key === "Escape") {
      event.preventDefault();
      if (isOpen && chosen()) return close();
      return clearAll();
    }
    if (!isOpen) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      clearTimeout(timer); // the list that is walked stays
      asking?.abort();
      const step = event.key === "ArrowDown" ? 1 : -1;
      choose(all[(all.indexOf(chosen()) + step + all.length + (chosen() || step > 0 ? 0 : 1)) % all.length]);
    } else if ((event.key === "Enter" || event.key === "Tab") && chosen()) {
      event.preventDefault();
      take(chosen());
    } else if (event.key === "Enter") close();
  });

  // Where a drawing is wider than its place, the status in which the job is now shows first.
  const shown = new WeakSet();
  function showCurrent() {
    for (const drawing of document.querySelectorAll(".drawing")) {
      const state = drawing.querySelector(".state.current");
      if (!state || shown.has(drawing)) continue;
      shown.add(drawing);
      const [here, there] = [drawing.getBoundingClientRect(), state.getBoundingClientRect()];
      if (there.right > here.right) drawing.scrollLeft = there.right - here.right + 16;
    }
  }
  document.addEventListener("DOMContentLoaded", showCurrent);
  document.addEventListener("htmx:after:swap", showCurrent);

  // Dialogs. What they ask comes from the server when somebody wants to do something.
  let opener;
  document.addEventListener("htmx:after:swap", (event) => {
    const { target, response } = event.detail.ctx;
    const dialog = $("job-dialog");
    if (idOf(target) !== "job-dialog-body" || !response || dialog.open || !dialog.querySelector(".ask")) return;
    if (response.status >= 400 && response.status !== 400 && response.status !== 422) return;
    opener = document.activeElement;
    dialog.showModal();
  });
  document.addEventListener("job-acted", () => {
    $("job-dialog").close();
    $("job-dialog-body").replaceChildren();
    if (opener?.isConnected) opener.focus({ preventScroll: true });
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#jobs-q-clear")) {
      $("jobs-q").value = "";
      $("jobs-q").focus();
      $("jobs-q").dispatchEvent(new Event("input", { bubbles: true }));
    }
    const back = event.target.closest("[data-back]");
    if (back && list() && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      history.pushState({ htmx: true }, "", listUrl());
      emptyPanel();
      markOpen();
    }
  });

  // What r and c do depends on the job: its row says where it stands.
  const VERBS = { r: { failed: "retry", cancelled: "retry", completed: "run-again" }, c: { scheduled: "cancel", pending: "cancel", retrying: "cancel", running: "cancel" } };
  function ask(key) {
    const row = stoker.keys.current();
    const subject = row?.dataset.job ? row : $("job");
    if (!subject) return false;
    const verb = VERBS[key][subject.dataset.status] ?? (key === "r" ? "retry" : "cancel");
    htmx.ajax("GET", `${stoker.root}jobs/${subject.dataset.job}/${verb}`, { source: subject, target: "#job-dialog-body", swap: "innerHTML", push: "false" });
    return true;
  }
  stoker.keys.add(
    "Jobs",
    { key: "r", words: "Retry or run again", act: () => ask("r") },
    { key: "c", words: "Cancel", act: () => ask("c") },
    { key: "Esc", words: "Clear the search and all filters, while the search has the focus" },
  );

  document.addEventListener("DOMContentLoaded", markOpen);
})();
