// The timeline: zoom, pan and selection ask the server for another window; bars are walked by keys. The
// Overview has its picture alone (no `region`): there bars are walked, and links lead to the timeline.
// What fingers and the mouse drag is in timeline_drag.js.
(() => {
  const MARKS = ".bar, .strip, .block";
  const LABELS = 150;
  const PLOT = 1000;
  const SETTLE_MS = 140;
  const SHORTEST_S = 10;
  const region = () => document.getElementById("timeline");
  const plot = () => document.getElementById("plot");
  const read = (element) => ({ since: Number(element.dataset.since), until: Number(element.dataset.until) });

  // One link outside the region asks for all that is not a link itself.
  function go(url) {
    const link = document.getElementById("timeline-go");
    link.setAttribute("href", url);
    link.setAttribute("hx-get", url);
    htmx.process(link);
    link.click();
  }
  function goTo(since, until) {
    const last = Math.max(Date.now() / 1000, read(region()).until); // not further into what is to come
    const length = Math.max(until - since, SHORTEST_S);
    const end = Math.min(until, last);
    const word = (seconds) => encodeURIComponent(new Date(seconds * 1000).toISOString().slice(0, 19)) + "Z";
    go(region().dataset.url.replace("FROM", word(end - length)).replace("TO", word(end)));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-go]");
    if (!link || !region() || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });

  // The filters say what the address says.
  function sync() {
    const form = document.getElementById("timeline-filters");
    const asked = new URLSearchParams(location.search);
    for (const field of form.elements) {
      if (!field.name || field === document.activeElement) continue;
      const value = asked.get(field.name);
      if (field.type === "radio") field.checked = field.value === (value ?? "24h");
      else if (field.tagName === "SELECT") field.value = value ?? { lanes: "type", refresh: "live" }[field.name] ?? "";
      else if (field.type === "datetime-local") field.value = stoker.field(value, true);
      else if (field.name !== "zone") field.value = value ?? asked.get(field.name.replace(/-at$/, "")) ?? "";
    }
  }

  // What is under the pointer or the focus, in words.
  let told = null;
  function tell(link) {
    told = link;
    const tip = document.getElementById("timeline-tip");
    const box = link?.querySelector(".run, rect").getBoundingClientRect();
    tip.hidden = !link || box.bottom < 0 || box.top > innerHeight;
    if (tip.hidden) return;
    tip.textContent = link.getAttribute("aria-label");
    const left = Math.min(Math.max(8, box.left), document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = box.bottom + 8;
    const top = below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 8 : below;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  }
  const marked = (event) => event.target.closest?.(MARKS);
  const focused = () => (plot()?.contains(document.activeElement) ? document.activeElement.closest(MARKS) : null);
  // A finger asks by holding still.
  for (const type of ["pointerover", "focusin"]) {
    document.addEventListener(type, (event) => { if (event.pointerType !== "touch" && marked(event)) tell(marked(event)); });
  }
  for (const type of ["pointerout", "focusout"]) {
    document.addEventListener(type, (event) => {
      if (event.pointerType !== "touch" && marked(event)) tell(focused());
    });
  }
  // Whom the keys lead to what was out of sight is told of it there.
  document.addEventListener("scroll", () => tell(focused()), { capture: true, passive: true });

  // A refresh takes the words of nothing away that is still there.
  const tellOn = () => tell(told?.isConnected && told.matches(":hover, :focus") ? told : focused());

  // From a place on the screen to the plot's own units and to time.
  function unitsAt(svg, clientX) {
    const at = new DOMPoint(clientX, 0).matrixTransform(svg.getScreenCTM().inverse());
    return Math.min(Math.max(at.x - LABELS, 0), PLOT);
  }
  const timeAt = ({ since, until }, units) => since + (units / PLOT) * (until - since);

  let wheel = null;
  document.addEventListener("wheel", (event) => {
    const svg = region() && event.target.closest?.("#plot svg");
    const isPan = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!svg || !(event.ctrlKey || event.metaKey || isPan)) return; // the wheel alone scrolls the page
    event.preventDefault();
    const window_ = wheel?.window ?? read(region());
    const length = window_.until - window_.since;
    let next;
    if (isPan && !event.ctrlKey && !event.metaKey) {
      const by = ((event.deltaX || event.deltaY) / 600) * length;
      next = { since: window_.since + by, until: window_.until + by };
    } else {
      const share = unitsAt(svg, event.clientX) / PLOT;
      const wanted = length * Math.exp(Math.sign(event.deltaY) * 0.25);
      const middle = window_.since + share * length;
      next = { since: middle - share * wanted, until: middle + (1 - share) * wanted };
    }
    timeline.preview(next);
    clearTimeout(wheel?.timer);
    wheel = { window: next, timer: setTimeout(() => { wheel = null; goTo(next.since, next.until); }, SETTLE_MS) };
  }, { passive: false });

  const links = (lane) => [...lane.querySelectorAll(MARKS)].sort((a, b) => left(a) - left(b));
  const left = (link) => {
    const shape = link.querySelector(".run, rect:not(.wait)");
    return Number(shape.getAttribute("x") ?? shape.dataset.x);
  };
  function step(key, current) {
    const lanes = [...plot().querySelectorAll(".lane")].filter((lane) => lane.querySelector("a"));
    if (!lanes.length) return null;
    if (!current) return links(lanes[0])[0];
    const lane = current.closest(".lane");
    const row = links(lane);
    if (key === "ArrowLeft") return row[row.indexOf(current) - 1];
    if (key === "ArrowRight") return row[row.indexOf(current) + 1];
    if (key === "Home") return row[0];
    if (key === "End") return row[row.length - 1];
    const next = lanes[lanes.indexOf(lane) + (key === "ArrowUp" ? -1 : 1)];
    return next && links(next).reduce((best, each) => (Math.abs(left(each) - left(current)) < Math.abs(left(best) - left(current)) ? each : best));
  }
  document.addEventListener("keydown", (event) => {
    if (!event.target.closest?.("#plot, .timeline-tools") || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key === "=" ? "+" : event.key;
    const isMove = event.target.closest("#plot") && ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key);
    if (isMove && !event.shiftKey) {
      event.preventDefault();
      const next = step(key, event.target.closest(MARKS));
      next?.focus({ preventScroll: false });
      return;
    }
    const link = region()?.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!link || !["+", "-", "0", "ArrowLeft", "ArrowRight"].includes(key) || (key.startsWith("Arrow") && !event.shiftKey)) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });

  // Where the plot is wider than the screen, the newest is shown first, and the lanes' names stay.
  function keepNames() {
    const svg = plot()?.querySelector("svg");
    if (!svg) return;
    const by = (plot().scrollLeft * 1150) / svg.getBoundingClientRect().width;
    svg.querySelector("[data-labels]").setAttribute("transform", `translate(${by} 0)`);
  }
  function showNewest() {
    if (!plot()) return;
    const now = plot().querySelector(".now");
    const share = now ? Number(now.getAttribute("x1")) / 1150 : 1;
    plot().scrollLeft = share * plot().scrollWidth - plot().clientWidth * (share < 1 ? 0.7 : 0);
    keepNames();
  }
  let isAhead = false; // what was asked for begins before now and ends after it
  document.addEventListener("click", (event) => { if (event.target.closest?.("[data-go]")) isAhead = Boolean(event.target.closest("[data-ahead]")); });
  document.addEventListener("DOMContentLoaded", showNewest);
  document.addEventListener("scroll", (event) => { if (event.target.id === "plot") keepNames(); }, { capture: true, passive: true });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-png]");
    if (!button) return;
    const answer = await fetch(button.dataset.png);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await answer.text())}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth * 2;
    canvas.height = image.naturalHeight * 2;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    const save = document.createElement("a");
    save.download = "timeline.png";
    save.href = canvas.toDataURL("image/png");
    save.click();
  });

  // Who goes by keys goes on, also where the run in focus has left the window.
  let wasInPlot = false;
  document.addEventListener("htmx:before:swap", () => { wasInPlot = Boolean(plot()?.contains(document.activeElement)); });
  const keepFocus = () => { if (wasInPlot && !plot()?.contains(document.activeElement)) (plot() ?? region().querySelector("[data-key]")).focus({ preventScroll: true }); };

  document.addEventListener("htmx:after:swap", () => { if (!region()) { tellOn(); keepNames(); } });
  document.addEventListener("htmx:after:swap", (event) => { if (event.detail.ctx?.target?.id === "timeline") { sync(); keepNames(); keepFocus(); tellOn(); if (isAhead && event.detail.ctx.sourceElement?.id === "timeline-go") { isAhead = false; showNewest(); } } });
  window.timeline = { MARKS, LABELS, PLOT, SHORTEST_S, region, plot, read, goTo, tell, unitsAt, timeAt };
})();
