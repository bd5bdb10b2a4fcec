// Keeps [data-live] regions fresh without disturbing the reader: told by the stream or the region's
// own timer, at most once a second, only while visible, never over an open dialog, selection or caret.
(() => {
  const PACE_MS = 1000;
  const TINT_MS = 1000;
  const waiting = new WeakSet(); // regions under which something changed
  const asked = new WeakMap(); // when each was last fetched
  const marks = new WeakMap(); // what its rows said before the swap
  const tags = new WeakMap(); // the ETag of what a region shows, and the address that it is of
  let timer;
  const told = new WeakMap(); // for which of these a region has asked
  let toldAt; // when the stream said last that something changed: pages that were told the same share an answer

  const regions = () => document.querySelectorAll("[data-live]");
  const isOwnRefresh = (ctx) =>
    ctx.sourceElement?.matches?.("[data-live]") && ["refresh", "every"].includes(ctx.sourceEvent?.type);

  function isBusy(region) {
    if (document.hidden) return true;
    if (document.querySelector("dialog[open]") && !region.closest("dialog")) return true;
    if (region.querySelector("[data-select]:checked")) return true; // rows are picked for an action
    const selection = document.getSelection();
    if (selection?.rangeCount && !selection.isCollapsed && selection.containsNode(region, true)) return true;
    const active = document.activeElement;
    return region.contains(active) && active.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  }

  // The region shows another page of its list meanwhile, or other filters.
  const isOutdated = ({ sourceElement, request }) =>
    new URL(sourceElement.getAttribute("hx-get"), location.href).href !== new URL(request.action, location.href).href;

  function refresh() {
    clearTimeout(timer);
    for (const region of regions()) {
      if (!waiting.has(region) || isBusy(region)) continue;
      const pause = (asked.get(region) ?? -PACE_MS) + PACE_MS - performance.now();
      if (pause > 0) {
        timer = setTimeout(refresh, pause);
        continue;
      }
      htmx.trigger(region, "refresh");
    }
  }

  stoker.wake = (region) => {
    waiting.add(region);
    refresh();
  };
  document.addEventListener("changed", (event) => {
    toldAt = event.detail?.data || undefined;
    for (const region of regions()) waiting.add(region);
    refresh();
  });
  for (const event of ["visibilitychange", "selectionchange", "focusout", "change"]) document.addEventListener(event, refresh);
  document.addEventListener("close", refresh, true); // of a dialog; it does not bubble

  document.addEventListener("htmx:before:request", (event) => {
    const ctx = event.detail.ctx;
    if (!isOwnRefresh(ctx)) return;
    const region = ctx.sourceElement;
    if (isBusy(region)) {
      waiting.add(region);
      event.preventDefault();
    } else {
      waiting.delete(region);
      asked.set(region, performance.now());
      if (toldAt && told.get(region) !== toldAt) ctx.request.headers["Stoker-Told-At"] = toldAt;
      told.set(region, toldAt); // asked for once more, it gets what is new
      const tag = tags.get(region);
      if (tag?.of === ctx.request.action) ctx.request.headers["If-None-Match"] = tag.value; // else 304: nothing is new
    }
  });

  document.addEventListener("htmx:before:swap", (event) => {
    const ctx = event.detail.ctx;
    if (!isOwnRefresh(ctx) || ctx.response.status >= 400) return;
    const region = ctx.sourceElement;
    if (isBusy(region) || isOutdated(ctx)) {
      waiting.add(region); // the reader began to select, or went on, while the answer was on its way
      event.preventDefault();
      return;
    }
    marks.set(region, new Map([...region.querySelectorAll("[data-mark]")].map((row) => [row.id, row.dataset.mark])));
  });

  document.addEventListener("htmx:after:swap", (event) => {
    const ctx = event.detail.ctx;
    if (ctx.response?.status >= 500 && ctx.sourceElement?.id !== "changes") stale();
    if (!ctx.response || ctx.response.status >= 400) return;
    noteTag(ctx);
    if (document.getElementById("banner")?.childElementCount) document.getElementById("banner").replaceChildren();
    document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
    if (ctx.target?.matches?.("[data-live], [data-loading]")) updated();
    if (!isOwnRefresh(ctx) || !marks.has(ctx.sourceElement)) return;
    const before = marks.get(ctx.sourceElement);
    const changed = [...ctx.sourceElement.querySelectorAll("[data-mark]")].filter((row) => before.get(row.id) !== row.dataset.mark);
    for (const row of changed) {
      row.classList.add("changed");
      setTimeout(() => row.classList.remove("changed"), TINT_MS);
    }
    announce(changed);
  });

  // The tag belongs to a refresh's own content: whatever else is put into a region makes it another.
  function noteTag(ctx) {
    if (ctx.response.status === 304) return;
    const target = typeof ctx.target === "string" ? document.querySelector(ctx.target) : ctx.target;
    for (const region of regions()) if (target?.contains?.(region) || region.contains(target)) tags.delete(region);
    const value = ctx.response.headers.get("ETag");
    if (isOwnRefresh(ctx) && value && !ctx.isHeldBack) tags.set(ctx.sourceElement, { of: ctx.request.action, value });
  }

  // What a reader has opened or closed stays so when the server's version comes.
  htmx.registerExtension("stoker-open", {
    htmx_before_morph_attr: (element, detail) => !(detail.attrName === "open" && element.matches("details, dialog")),
  });

  // For those who listen: how many rows changed, now and then.
  const ANNOUNCE_MS = 20000;
  let toSay = new Map(); // row → whether it failed
  let saidAt = -ANNOUNCE_MS;
  let sayTimer;
  function announce(rows) {
    for (const row of rows) toSay.set(row.id, /^failed\b/.test(row.dataset.mark));
    clearTimeout(sayTimer);
    if (toSay.size) sayTimer = setTimeout(sayChanges, Math.max(0, saidAt + ANNOUNCE_MS - performance.now()));
  }
  function sayChanges() {
    const place = document.getElementById("said");
    if (!place) return;
    const failed = [...toSay.values()].filter(Boolean).length;
    place.textContent = `Refreshed: ${toSay.size} ${toSay.size === 1 ? "row" : "rows"} changed${failed ? `, ${failed} failed` : ""}.`;
    toSay = new Map();
    saidAt = performance.now();
  }

  // "21 s ago" counts on by itself, in the server's words and by the server's clock.
  const skew = Date.now() - Number(document.documentElement.dataset.now) * 1000;
  const ahead = Math.abs(skew) > 2000 ? skew : 0;
  function coarse(seconds) {
    for (const [limit, unit, word] of [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]]) if (seconds < limit) return `${Math.floor(seconds / unit)} ${word}`;
    return `${Math.floor(seconds / 86400)} d`;
  }
  function count() {
    if (document.hidden) return;
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const away = (Date.now() - ahead - Date.parse(each.dateTime)) / 1000;
      const words = Math.abs(away) < 5 ? "just now" : away > 0 ? `${coarse(away)} ago` : `in ${coarse(-away)}`;
      if (each.textContent !== words && !document.getSelection()?.containsNode(each, true)) each.textContent = words;
    }
  }
  setInterval(count, 5000);

  // A GET form leaves out what was not filled in, so that addresses stay short.
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (!sourceElement.matches("form") || request.method !== "GET") return;
    for (const [name, value] of [...request.body]) if (!value) request.body.delete(name);
    const times = [...sourceElement.querySelectorAll("[type=datetime-local]")];
    if (!times.some((each) => each.value)) request.body.delete("zone"); // it is that of the times
  });

  // The indicator: what the stream says, in a word and a shape.
  const WORDS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", timer: "Every 30 s", stale: "Trying again", offline: "Offline" };
  const isStream = (event) => event.target.id === "changes";
  let freshAt = Date.now();
  let hasStream = false;
  let lostTimer;

  function say(status) {
    clearTimeout(lostTimer);
    const live = document.getElementById("live");
    if (!live) return;
    live.hidden = false;
    live.dataset.status = status;
    document.documentElement.dataset.connection = status;
    const word = document.getElementById("live-word");
    if (word.textContent !== WORDS[status]) word.textContent = WORDS[status];
    age();
  }
  function age() {
    const text = document.getElementById("live-updated");
    if (!text) return;
    const minutes = Math.floor((Date.now() - freshAt) / 60000);
    const words = minutes < 1 ? " · updated just now" : ` · updated ${minutes} min ago`;
    if (text.textContent !== words) text.textContent = words;
  }
  function updated() {
    freshAt = Date.now();
    const stamp = document.getElementById("refreshed-at");
    if (stamp) {
      stamp.dateTime = new Date(freshAt - ahead).toISOString();
      stamp.textContent = "just now";
    }
    if (["offline", "stale"].includes(document.getElementById("live")?.dataset.status)) say(hasStream ? "live" : "reconnecting");
    age();
  }
  // The server answers, but can't say what is new.
  function stale() {
    say("stale");
    since();
  }
  function since() {
    const clock = `${stoker.time(freshAt)} ${stoker.zone}`;
    document.querySelectorAll("#banner [data-since]").forEach((place) => { place.textContent = clock; });
  }
  // A stream ends by itself now and then and is back at once: that is not worth a word.
  const lost = () => {
    hasStream = false;
    clearTimeout(lostTimer);
    lostTimer = setTimeout(() => say(navigator.onLine ? "reconnecting" : "offline"), 2000);
  };
  let stream;
  document.addEventListener("htmx:sse:before:connection", (event) => { stream = event.detail.connection; });
  document.addEventListener("htmx:sse:after:connection", () => {
    hasStream = true;
    if (document.getElementById("live")?.dataset.status !== "stale") say("live");
    else clearTimeout(lostTimer);
  });
  document.addEventListener("htmx:sse:error", lost);
  document.addEventListener("htmx:sse:close", lost);
  document.addEventListener("htmx:response:error", (event) => { if (isStream(event)) say("timer"); });
  document.addEventListener("htmx:error", (event) => {
    if (isStream(event)) return lost();
    if (!event.detail.ctx?.request || event.detail.ctx.response) return;
    say("offline");
    const notice = document.getElementById("unreachable");
    if (notice) document.getElementById("banner").replaceChildren(notice.content.cloneNode(true));
    since();
  });
  addEventListener("offline", () => say("offline"));
  addEventListener("online", () => {
    say("reconnecting");
    // Connect anew, and now: the old connection may be dead without a sign, or in a long pause.
    stream?.delayCanceller?.();
    stream?.reader?.cancel();
  });
  setInterval(age, 15000);

  // The stream says something every two seconds: silence is a lost connection that nobody has told of.
  const SILENCE_MS = 4500;
  const RENEW_MS = 10000;
  let heardAt = performance.now();
  let renewedAt = 0;
  function heard() {
    heardAt = performance.now();
    if (!hasStream) return;
    if (document.getElementById("live")?.dataset.status === "reconnecting") say("live");
  }
  document.addEventListener("beat", heard);
  document.addEventListener("changed", heard);
  document.addEventListener("htmx:sse:after:connection", heard);
  document.addEventListener("visibilitychange", () => { heardAt = performance.now(); });
  setInterval(() => {
    const silence = performance.now() - heardAt;
    if (document.hidden || !hasStream || silence < SILENCE_MS) return;
    if (document.getElementById("live")?.dataset.status === "live") say("reconnecting");
    if (silence < RENEW_MS || performance.now() - renewedAt < RENEW_MS) return;
    renewedAt = performance.now();
    stream?.reader?.cancel(); // and connect anew
  }, 500);
  document.addEventListener("DOMContentLoaded", () => { if (document.getElementById("live")?.hidden) say("connecting"); });

  // Copying: the clipboard needs https or localhost; elsewhere the text is selected instead.
  const showCopy = () => document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });
  document.addEventListener("DOMContentLoaded", showCopy);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1200);
    } catch {
      getSelection().selectAllChildren(source);
    }
  });
})();
