// The history: the form follows the address, picked batches stay picked from page to page.
(() => {
  const $ = (id) => document.getElementById(id);
  const MOST = 4, FEWEST = 2;
  const idOf = (target) => (typeof target === "string" ? target.replace("#", "") : target?.id);
  const form = () => $("history-filters");

  // The menu of statuses says how many are chosen; it closes like any menu.
  function sayStatuses() {
    const said = $("status-said");
    if (!said) return;
    const chosen = form().querySelectorAll("[name=status]:checked").length;
    said.textContent = chosen ? `Status: ${chosen}` : said.dataset.none;
  }
  document.addEventListener("click", (event) => {
    const menu = $("status-menu");
    if (menu?.open && !menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const menu = $("status-menu");
    if (event.key !== "Escape" || !menu?.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // The form follows the address where something else changed that.
  function followAddress() {
    // A batch that is open over the list has an address of its own.
    if (!form() || location.pathname !== form().getAttribute("action")) return;
    const query = new URLSearchParams(location.search);
    const statuses = query.getAll("status").flatMap((each) => each.split(","));
    for (const control of form().querySelectorAll("[name]")) {
      if (control.type === "checkbox") control.checked = statuses.includes(control.value);
      else if (control.type === "radio") control.checked = control.value === (query.get(control.name) ?? "");
      else if (control.type === "datetime-local") {
        if (query.get(control.name)?.length !== 10) control.value = stoker.field(query.get(control.name)); // a day: the server has said it as a time
      } else if (control.name.endsWith("-at")) control.value = query.get(control.name.slice(0, -3)) ?? "";
      else if (control.name === "zone") continue;
      else if (control !== document.activeElement || control.tagName === "SELECT") control.value = query.get(control.name) ?? "";
    }
    sayStatuses();
  }
  const addressOf = (action) => {
    const url = new URL(action, location.href);
    return url.pathname + url.search;
  };
  document.addEventListener("htmx:before:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (sourceElement.id !== "history-filters" && sourceElement.id !== "history-q") return;
    // An address that is there already is not pushed once more.
    if (addressOf(request.action) === location.pathname + location.search && !$("banner").childElementCount) event.preventDefault();
  });
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (sourceElement.id !== "history-q" && sourceElement.id !== "history-filters") return;
    const entries = [...request.body];
    const isDated = entries.some(([name, value]) => name === "range" && value === "dates");
    for (const [name, value] of entries) if (!value || (!isDated && ["from", "to", "from-at", "to-at", "zone"].includes(name))) request.body.delete(name);
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "history-q") event.stopPropagation(); // it was asked for while it was typed
    if (event.target.name === "status" && event.target.closest("#status-menu")) sayStatuses();
  }, true);

  document.addEventListener("htmx:after:swap", (event) => {
    const { target, response, sourceElement } = event.detail.ctx;
    if (!response || response.status >= 400 || idOf(target) !== "history-jobs") return;
    if (sourceElement.id !== "history-jobs" && !sourceElement.closest("#history-filters")) followAddress();
    showPicks();
  });
  document.addEventListener("htmx:after:history:push", () => { followAddress(); });

  // What is picked to be compared, on whichever page of the list it was. Back and reload bring it back.
  const PICKS = "stoker-compare";
  const picked = new Set(performance.getEntriesByType("navigation")[0]?.type === "navigate" ? [] : kept());
  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(PICKS)) ?? [];
    } catch { return []; } // a browser that keeps nothing
  }
  function showPicks() {
    const bar = $("compare");
    if (!bar) return;
    try { sessionStorage.setItem(PICKS, JSON.stringify([...picked])); } catch { /* then Back forgets them */ }
    for (const box of document.querySelectorAll("[data-select][form=compare]")) {
      box.checked = picked.has(box.value);
      box.disabled = !box.checked && picked.size >= MOST;
    }
    bar.classList.toggle("picked", picked.size > 0);
    $("compare-none").hidden = picked.size === 0;
    $("compare-go").disabled = picked.size < FEWEST;
    $("compare-said").textContent = picked.size === 0
      ? "Check 2 to 4 batches to compare them."
      : picked.size < FEWEST ? "1 batch is picked; check one more, or up to three." : `${picked.size} batches are picked${picked.size === MOST ? ", as many as can be compared" : ""}.`;
    $("compare-picked").replaceChildren(...[...picked].map((id) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.dataset.unpick = id;
      button.title = id;
      const verb = document.createElement("span");
      verb.className = "sr";
      verb.textContent = "Uncheck ";
      const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      icon.setAttribute("class", "icon");
      icon.setAttribute("aria-hidden", "true");
      icon.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
      icon.firstChild.setAttribute("href", "#icon-x");
      button.append(verb, id.length > 20 ? `${id.slice(0, 12)}…${id.slice(-6)}` : id, icon);
      item.append(button);
      return item;
    }));
  }
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!box.matches?.("[data-select][form=compare]")) return;
    if (box.checked) picked.add(box.value);
    else picked.delete(box.value);
    showPicks();
  });
  function unpick(ids) {
    for (const id of ids) picked.delete(id);
    showPicks();
    document.dispatchEvent(new Event("selectionchange")); // what waited for it is fetched now
  }
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.("[data-unpick]");
    if (chip) {
      const box = document.querySelector(`[data-select][value="${CSS.escape(chip.dataset.unpick)}"]`);
      unpick([chip.dataset.unpick]);
      ($("compare-picked").querySelector("button") ?? box ?? $("history-q"))?.focus();
    }
    if (event.target.closest?.("#compare-none")) {
      unpick([...picked]);
      $("history-q").focus();
    }
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "compare") return;
    event.preventDefault();
    const ids = [...picked].join(",");
    location.assign(`${event.target.getAttribute("action")}?ids=${encodeURIComponent(ids).replaceAll("%2C", ",")}`);
  });
  // Where the browser brings the page back, its boxes may be checked.
  addEventListener("pageshow", () => {
    for (const box of document.querySelectorAll("[data-select][form=compare]:checked")) picked.add(box.value);
    showPicks();
  });
})();
