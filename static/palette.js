// The command palette: type, choose with the arrows, Enter. Pages, actions and saved views are offered;
// what is typed may also be a job's or a batch's number, or what to search the jobs for.
(() => {
  const $ = (id) => document.getElementById(id);
  const MOST = 60;
  let views = []; // of this user, as options
  let options = []; // shown now

  const item = (words, kind, does, hint = "") => ({ words, kind, does, hint });
  const goTo = (path) => () => location.assign(path);

  function known() {
    return [...$("palette-items").content.children].map((each) => item(
      each.textContent.trim(),
      each.dataset.kind,
      each.dataset.href ? goTo(each.dataset.href) : () => run(each.dataset),
      each.dataset.hint,
    ));
  }
  function run({ clicks, event }) {
    if (event) document.dispatchEvent(new Event(event));
    if (clicks) document.querySelector(clicks)?.click();
  }
  function typed(text) {
    const found = [];
    const id = text.match(/^#?(\d{1,18})$/)?.[1];
    if (id) found.push(item(`Open job ${id}`, "Job", goTo(`${stoker.root}jobs/${id}`)));
    if (/^batch_[\w-]+$/.test(text)) found.push(item(`Open ${text}`, "Batch", goTo(`${stoker.root}history/${encodeURIComponent(text)}`)));
    return found;
  }
  function matching(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fixed = known();
    const isPage = (each) => each.kind === "Page";
    const all = [...fixed.filter(isPage), ...views, ...fixed.filter((each) => !isPage(each))];
    const found = all.filter((each) => words.every((word) => `${each.words} ${each.kind}`.toLowerCase().includes(word)));
    const begins = (each) => (each.words.toLowerCase().startsWith(words[0] ?? "") ? 0 : 1);
    if (words.length) found.sort((a, b) => begins(a) - begins(b));
    const last = text ? [item(`Search the jobs for “${text}”`, "Search", goTo(`${stoker.root}jobs?q=${encodeURIComponent(text)}`))] : [];
    return [...typed(text), ...found.slice(0, MOST), ...last];
  }

  function show() {
    const list = $("palette-list");
    options = matching($("palette-text").value.trim());
    list.replaceChildren(...options.map((each, place) => {
      const option = document.createElement("li");
      option.id = `palette-${place}`;
      option.setAttribute("role", "option");
      const words = document.createElement("span");
      words.className = "palette-words";
      words.textContent = each.words;
      option.append(words);
      for (const key of each.hint ? each.hint.split(" ") : []) {
        const sign = document.createElement("kbd");
        sign.textContent = key;
        option.append(sign);
      }
      const kind = document.createElement("span");
      kind.className = "note";
      kind.textContent = each.kind;
      option.append(kind);
      return option;
    }));
    $("palette-none").hidden = options.length > 0;
    choose(0);
  }
  const at = () => [...$("palette-list").children].findIndex((each) => each.getAttribute("aria-selected") === "true");
  function choose(place) {
    [...$("palette-list").children].forEach((each, index) => each.setAttribute("aria-selected", String(index === place)));
    const option = $("palette-list").children[place];
    if (option) $("palette-text").setAttribute("aria-activedescendant", option.id);
    else $("palette-text").removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  }
  function take(place) {
    const chosen = options[place];
    if (!chosen) return;
    $("palette").close();
    chosen.does();
  }

  async function open() {
    const dialog = $("palette");
    if (!dialog) return;
    if (dialog.open) return dialog.close();
    if (document.querySelector("dialog[open]")) return; // one thing at a time
    document.querySelectorAll("[popover]:popover-open").forEach((each) => each.hidePopover());
    $("palette-text").value = "";
    dialog.showModal();
    show();
    try {
      const answer = await fetch(dialog.dataset.views, { headers: { "HX-Request": "true", "HX-Request-Type": "partial" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      views = [...page.querySelectorAll("[data-view]")].map((each) => item(each.textContent.trim(), "Saved view", goTo(each.getAttribute("href"))));
      if (dialog.open && views.length) {
        const place = at();
        show();
        choose(Math.max(place, 0));
      }
    } catch { /* without them, then */ }
  }

  document.addEventListener("palette", open);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-palette]")) return open();
    const option = event.target.closest?.("#palette-list [role=option]");
    if (option) take([...$("palette-list").children].indexOf(option));
  });
  document.addEventListener("input", (event) => { if (event.target.id === "palette-text") show(); });
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "palette-text" || event.isComposing) return;
    const count = options.length;
    const to = { ArrowDown: (at() + 1) % count, ArrowUp: (at() - 1 + count) % count, PageDown: Math.min(at() + 8, count - 1), PageUp: Math.max(at() - 8, 0) }[event.key];
    if (to !== undefined) choose(to);
    else if (event.key === "Enter") take(at());
    else return;
    event.preventDefault();
  });

  // The menu of the saved views: what is there is asked for when it opens; what is saved is the address of that moment.
  document.addEventListener("toggle", (event) => {
    if (event.target.id !== "views" || event.newState !== "open") return;
    htmx.ajax("GET", $("palette").dataset.views, { source: $("views"), target: "#views-list", swap: "outerMorph", push: "false" });
    $("views-name").focus();
  }, true);
  document.addEventListener("submit", (event) => {
    if (event.target.id === "views-form") $("views-address").value = location.pathname + location.search;
  }, true);
  document.addEventListener("htmx:after:swap", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (sourceElement?.id === "views-form" && response?.status < 400) $("views-name").value = "";
  });
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-palette]").forEach((button) => { button.hidden = false; }));
})();
