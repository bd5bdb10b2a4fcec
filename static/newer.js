// Lists whose newest rows come on top, [data-newest] with the address of the first page: while the reader
// is there, new rows come in; further down, on a later page ([data-later]) or while rows are picked,
// nothing jumps, and "12 new" leads to them.
(() => {
  const PACE_MS = 2000;
  const region = () => document.querySelector("[data-live][data-newest]");
  const rowsOf = (place) => [...(place.querySelector("[data-rows]")?.children ?? [])].filter((row) => row.id);
  const idsOf = (place) => new Set(rowsOf(place).map((row) => row.id));
  const isOwnRefresh = (ctx) => ctx.sourceElement === region() && ["refresh", "every"].includes(ctx.sourceEvent?.type);
  const hasPicks = (list) => list.querySelector("[data-select]:checked") !== null;
  const isOnTop = (list) => (list.querySelector("[data-rows]")?.getBoundingClientRect().top ?? 0) >= 0;

  // How many come before the first that is known: "50+" where all of a page are new.
  function count(rows, known) {
    const place = rows.findIndex((row) => known.has(row.id));
    return { many: place < 0 ? rows.length : place, words: place < 0 && rows.length > 1 ? `${rows.length}+ new` : `${place < 0 ? rows.length : place} new` };
  }

  let link;
  function say({ many, words }) {
    if (!many) return hide();
    link ??= Object.assign(document.createElement("a"), { id: "newer", className: "newer", hidden: true });
    if (!link.isConnected) document.getElementById("main").append(link);
    link.href = region().dataset.newest;
    if (link.textContent !== words) link.textContent = words;
    if (link.hidden) document.getElementById("said").textContent = `${words}, on top of the list.`;
    link.hidden = false;
  }
  function hide() {
    if (link) link.hidden = true;
  }

  // The reader is further down the first page: its rows are renewed, what is new waits.
  function holdBack(list, fragment) {
    const shown = rowsOf(list);
    const known = idsOf(list);
    const coming = rowsOf(fragment);
    const found = count(coming, known);
    if (found.many === coming.length) return found; // none of those that are there would stay
    for (const row of coming.slice(0, found.many)) row.remove();
    // What the new ones pushed off the page stays at its end, and so does where the next one begins.
    const last = coming.at(-1);
    const rest = shown.slice(shown.findIndex((row) => row.id === last.id) + 1);
    last.after(...rest.map((row) => row.cloneNode(true)));
    const next = fragment.querySelector("nav.paging");
    const before = list.querySelector("nav.paging");
    if (before) next?.replaceWith(before.cloneNode(true));
    else next?.remove();
    return found;
  }
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx, tasks } = event.detail;
    const list = region();
    if (event.defaultPrevented || !list || !isOwnRefresh(ctx) || ctx.response.status !== 200) return;
    const fragment = tasks.find((task) => task.type === "main")?.fragment;
    if ("later" in list.dataset || !fragment || !list.querySelector("[data-rows]") || isOnTop(list)) return;
    const coming = rowsOf(fragment);
    const { many } = count(coming, idsOf(list));
    if (!many) return;
    ctx.isHeldBack = true; // so what is shown is not what was sent
    if (many === coming.length) event.preventDefault();
    say(holdBack(list, fragment));
  });

  // On a later page, or while rows are picked, the first page is looked at, and only counted.
  let known; // what it had when this began, and of which list that was
  stoker.newest = () => known; // for tests
  let tag;
  let timer;
  let peekedAt = -PACE_MS;
  function peekSoon() {
    const list = region();
    if (!list || document.hidden || !("later" in list.dataset || hasPicks(list))) return;
    clearTimeout(timer);
    timer = setTimeout(peek, Math.max(0, peekedAt + PACE_MS - performance.now()));
  }
  async function peek() {
    const list = region();
    if (!list) return;
    peekedAt = performance.now();
    const address = list.dataset.newest;
    const headers = { "HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": `${list.localName}#${list.id}` };
    if (tag?.of === address) headers["If-None-Match"] = tag.value;
    try {
      const answer = await fetch(address, { headers });
      if (answer.status !== 200) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (region()?.dataset.newest !== address) return; // the reader went on
      tag = { of: address, value: answer.headers.get("ETag") ?? "" };
      if (known?.of !== address) known = { of: address, ids: idsOf("later" in list.dataset ? page : list) };
      say(count(rowsOf(page), known.ids));
    } catch {
      // The page itself says when the server can't be reached.
    }
  }
  document.addEventListener("changed", () => {
    if ((new URLSearchParams(location.search).get("refresh") ?? "live") === "live") peekSoon();
  });
  document.addEventListener("htmx:before:request", (event) => { if (isOwnRefresh(event.detail.ctx)) peekSoon(); });
  document.addEventListener("htmx:after:swap", (event) => {
    const { ctx } = event.detail;
    const list = region();
    if (!ctx.response || ctx.response.status >= 300 || !list) return;
    if ("later" in list.dataset) return peekSoon();
    if (ctx.isHeldBack || hasPicks(list)) return;
    known = tag = undefined;
    hide();
  });

  // Who comes back to the top has them come in, as whoever stayed there had.
  addEventListener("scroll", () => {
    const list = region();
    if (!link || link.hidden || !list || "later" in list.dataset || !isOnTop(list)) return;
    stoker.wake(list);
  }, { passive: true });
  document.addEventListener("click", async (event) => {
    if (event.target.id !== "newer" || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const list = region();
    const isLater = "later" in list.dataset;
    list.querySelector("[data-rows]")?.scrollIntoView({ block: "start" });
    known = tag = undefined;
    hide();
    await stoker.load(list.dataset.newest, isLater ? "true" : "false");
    region()?.querySelector("[data-rows]")?.scrollIntoView({ block: "start" });
    region()?.querySelector("[data-rows] a[href]")?.focus({ preventScroll: true });
  });
})();
