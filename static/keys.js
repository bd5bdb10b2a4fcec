// Keys, one mechanism for all pages. What a key does is said in one of three ways:
//   - a page's script: stoker.keys.add("Jobs", { key: "x", words: "Select it", act: () => … })
//   - the page's markup: a control with aria-keyshortcuts="r" is clicked, or focused if it is a field;
//     in a row before outside of rows
//   - here, for all: / ? j k x, and g with the key of a page in the navigation.
// `act` may return false: not now, the next that knows the key may have it. Nothing happens while somebody
// types, in a dialog or menu, with a modifier, or where the reader has switched single keys off.
(() => {
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const groups = new Map(); // heading → its keys
  const SEQUENCE_MS = 1500;
  const FIELD = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]";
  let isGoing = false;
  let timer;

  const add = (heading, ...keys) => groups.set(heading, [...(groups.get(heading) ?? []), ...keys]);
  const isSeen = (element) => element.checkVisibility?.({ visibilityProperty: true }) ?? element.offsetParent !== null;
  const isOff = () => root.dataset.singleKeys === "off";

  // Rows: what a page has many of, each with a link that opens it.
  const ROWS = "main [data-row], main [data-opens], main .joblist-row, main .groups > .group";
  function rows() {
    const marked = [...document.querySelectorAll(ROWS)];
    const all = marked.length ? marked : [...document.querySelectorAll("main tbody tr")];
    return all.filter((row) => link(row) && isSeen(row));
  }
  const link = (row) => row.querySelector(".joblist-open, a[href]");
  const current = () => document.activeElement?.closest?.(`${ROWS}, main tbody tr`) ?? document.querySelector(".joblist-row[aria-current]");
  function walk(step) {
    const all = rows();
    if (!all.length) return false;
    const at = all.indexOf(current());
    const row = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step];
    if (row) link(row).focus();
    return true;
  }
  function select(isRange) {
    const box = current()?.querySelector("[data-select]");
    box?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: isRange }));
    return Boolean(box);
  }
  const search = () => [...document.querySelectorAll("main [data-search], main input[type=search], main [role=search] input[type=text], main [role=search] select")].find(isSeen);

  // The page's own controls.
  const shortcuts = () => [...document.querySelectorAll("[aria-keyshortcuts]")].filter((each) => isSeen(each) && /^\S$/.test(each.getAttribute("aria-keyshortcuts")) && !each.closest("dialog:not([open])"));
  function press(key) {
    const all = shortcuts().filter((each) => each.getAttribute("aria-keyshortcuts") === key);
    const found = all.find((each) => current()?.contains(each)) ?? all.find((each) => !each.closest(ROWS));
    if (!found || found.matches(":disabled, [aria-disabled=true]")) return false;
    if (found.matches(FIELD)) found.focus();
    else found.click();
    return true;
  }

  const OURS = {
    "/": () => { const field = search(); field?.focus(); field?.select?.(); return Boolean(field); },
    "?": () => help(),
    j: () => walk(1),
    k: () => walk(-1),
    x: () => select(false),
    X: () => select(true),
  };
  function act(key) {
    for (const keys of [...groups.values()].reverse()) {
      for (const each of keys) if (each.key === key && each.act && each.act() !== false) return true;
    }
    return press(key) || (key in OURS && OURS[key]() !== false);
  }
  function go(key) {
    const page = document.querySelector(`[data-page-key="${CSS.escape(key)}"]`);
    if (!page) return false;
    location.assign(page.href);
    return true;
  }
  function wait(does) {
    clearTimeout(timer);
    isGoing = does;
    if (does) timer = setTimeout(() => { isGoing = false; }, SEQUENCE_MS);
  }

  const isTyping = (field) => field && isSeen(field); // one in a dialog that has just shut may have the focus yet
  const isBusy = (event) => isTyping(event.target.closest?.(FIELD)) || document.querySelector("dialog[open], [popover]:popover-open");
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      event.preventDefault();
      return document.dispatchEvent(new Event("palette"));
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.key.length !== 1 || isOff() || isBusy(event)) return wait(false);
    const wasGoing = isGoing;
    wait(false);
    if (event.repeat && !"jk".includes(event.key)) return;
    if (wasGoing ? go(event.key) : event.key === "g" ? (wait(true), true) : act(event.key)) event.preventDefault();
  });

  // The list of the keys that work here, written when it is opened.
  function line(key, words) {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    for (const part of key.split(" ")) {
      const sign = document.createElement("kbd");
      sign.textContent = part;
      term.append(sign, " ");
    }
    const said = document.createElement("dd");
    said.textContent = words;
    row.append(term, said);
    return row;
  }
  function part(heading, lines) {
    if (!lines.length) return [];
    const title = document.createElement("h3");
    title.textContent = heading;
    const list = document.createElement("dl");
    list.className = "facts keys";
    list.append(...lines);
    return [title, list];
  }
  function here() {
    const lines = [];
    const known = new Set();
    const say = (key, words) => { if (!known.has(key)) { known.add(key); lines.push(line(key, words)); } };
    if (search()) say("/", "Search or filter");
    if (rows().length) {
      say("j k", "Next, previous row");
      say("Enter", "Open it");
      if (document.querySelector("main [data-select]")) say("x", "Select it; with Shift, all up to it");
    }
    for (const each of shortcuts()) say(each.getAttribute("aria-keyshortcuts"), (each.dataset.keyWords || each.getAttribute("aria-label") || each.textContent).trim());
    return lines;
  }
  function help() {
    const dialog = $("keys-dialog");
    if (!dialog) return false;
    const pages = [...document.querySelectorAll("a[data-page-key]")].filter((each) => each.dataset.pageKey);
    $("keys-list").replaceChildren(
      ...part("On this page", here()),
      ...[...groups].flatMap(([heading, keys]) => part(heading, keys.filter((each) => each.words).map((each) => line(each.shown ?? each.key, each.words)))),
      ...part("Everywhere", [line(/Mac|iP/.test(navigator.platform) ? "⌘ K" : "Ctrl K", "Go to a page, a job, a saved view; change how pages look"), line("?", "This list")]),
      ...part("Go to", pages.map((page) => line(`g ${page.dataset.pageKey}`, page.textContent.trim()))),
    );
    $("keys-off").hidden = !isOff();
    dialog.showModal();
    dialog.scrollTop = 0;
    return true;
  }
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-keys]")) return;
    $("account")?.hidePopover();
    help();
  });

  const show = () => document.querySelectorAll("[data-keys]").forEach((button) => { button.hidden = false; });
  document.addEventListener("DOMContentLoaded", show);
  document.addEventListener("htmx:after:swap", show);
  stoker.keys = { add, current, rows };
})();
