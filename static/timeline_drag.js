// The timeline under mouse, pen and fingers. Mouse and pen: a drag over the lanes chooses a stretch, with
// Shift it moves them. Fingers: one moves, two zoom, one that holds still shows what is under it and then
// chooses. On the map the window is dragged.
(() => {
  const { MARKS, LABELS, PLOT, SHORTEST_S, region, plot, read, goTo, tell, unitsAt, timeAt } = window.timeline;
  const DRAG_PX = 5;
  const HOLD_MS = 450;
  const REACH_PX = 24;
  const LONGEST_S = 366 * 86400;
  const LEAST_SPREAD = 15;

  let drag = null; // what one pointer does
  let pinch = null; // what two fingers do
  const fingers = new Map(); // where each is that touches the lanes

  function move(by, scale = 1) {
    for (const part of plot()?.querySelectorAll("[data-moves]") ?? []) {
      if (by || scale !== 1) part.setAttribute("transform", `translate(${by} 0) scale(${scale} 1)`);
      else part.removeAttribute("transform");
    }
  }
  // What is there, as it would be in another window, until that comes.
  function preview(next) {
    const { since, until } = read(region());
    const length = next.until - next.since;
    move(((since - next.since) / length) * PLOT, (until - since) / length);
  }
  window.timeline.preview = preview;
  function brush(from, to) {
    const mark = document.getElementById("brush");
    if (!mark) return;
    mark.setAttribute("visibility", from === undefined ? "hidden" : "visible");
    if (from === undefined) return;
    mark.setAttribute("x", LABELS + Math.min(from, to));
    mark.setAttribute("width", Math.abs(to - from));
  }
  function forget() {
    clearTimeout(drag?.hold);
    drag = null;
    brush();
  }
  // The reader's click that follows, if one does, belongs to what was done before it.
  function swallowClick() {
    const swallow = (click) => {
      if (!click.isTrusted) return;
      click.preventDefault();
      click.stopPropagation();
    };
    addEventListener("click", swallow, { capture: true });
    setTimeout(() => removeEventListener("click", swallow, { capture: true }), 300);
  }

  document.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest?.("#plot svg, #map");
    const isTouch = event.pointerType === "touch";
    if (isTouch) tell(null);
    if (!svg || event.button) return;
    const isMap = svg.id === "map";
    if (isTouch && !isMap) {
      fingers.set(event.pointerId, event.clientX);
      if (fingers.size === 2) return begin(svg);
      if (fingers.size > 2) return;
    }
    drag = { svg, isMap, isTouch, id: event.pointerId, x: event.clientX, y: event.clientY, from: unitsAt(svg, event.clientX), isPan: event.shiftKey || (isTouch && !isMap), moved: false, scroll: plot()?.scrollLeft ?? 0 };
    if (isMap) event.preventDefault();
    else if (isTouch) drag.hold = setTimeout(held, HOLD_MS, drag, event.target.closest(MARKS) ?? nearest(event));
  });

  function held(own, mark) {
    if (drag !== own || own.moved) return;
    own.isHeld = true;
    own.isPan = false;
    if (mark) tell(mark);
  }

  document.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event.clientX);
    if (pinch) return spread();
    if (!drag || event.pointerId !== drag.id || (!drag.moved && Math.abs(event.clientX - drag.x) < DRAG_PX)) return;
    drag.moved = true;
    clearTimeout(drag.hold);
    tell(null);
    if (drag.isPan) {
      // A plot that is wider than the screen is moved to its edge first.
      const place = plot();
      place.scrollLeft = drag.isTouch ? drag.scroll + drag.x - event.clientX : place.scrollLeft;
      const rest = event.clientX - drag.x + (drag.isTouch ? place.scrollLeft - drag.scroll : 0);
      drag.by = rest / drag.svg.getScreenCTM().a;
      return move(drag.by);
    }
    drag.to = unitsAt(drag.svg, event.clientX);
    if (drag.isMap) {
      const mark = drag.svg.querySelector(".map-window");
      mark.setAttribute("x", drag.to - mark.width.baseVal.value / 2);
    } else {
      brush(drag.from, drag.to);
    }
  });

  document.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (pinch) return end();
    if (!drag || event.pointerId !== drag.id) return;
    const { svg, from, by, isMap, isPan, isHeld, isTouch, moved } = drag;
    const to = drag.to ?? unitsAt(svg, event.clientX);
    forget();
    const window_ = read(region());
    const length = window_.until - window_.since;
    if (isMap) {
      const middle = timeAt(read(svg), to);
      goTo(middle - length / 2, middle + length / 2);
    } else if (moved && isPan) {
      swallowClick();
      if (Math.abs(by) < 2) move(0);
      else goTo(window_.since - (by / PLOT) * length, window_.until - (by / PLOT) * length);
    } else if (moved) {
      swallowClick();
      goTo(timeAt(window_, Math.min(from, to)), timeAt(window_, Math.max(from, to)));
    } else if (isHeld) {
      swallowClick();
    } else if (isTouch && !event.target.closest?.(MARKS)) {
      nearest(event)?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    }
  });

  // The browser scrolls the page, say.
  document.addEventListener("pointercancel", (event) => {
    fingers.delete(event.pointerId);
    if (pinch) return end();
    if (drag?.id === event.pointerId) { forget(); move(0); }
  });

  // Bars may be smaller than a fingertip: the nearest that it reaches is meant.
  function nearest({ clientX, clientY }) {
    let best = null;
    let least = REACH_PX / 2;
    for (const mark of plot()?.querySelectorAll(MARKS) ?? []) {
      const box = mark.querySelector(".run, rect").getBoundingClientRect();
      const away = Math.hypot(
        Math.max(box.left - clientX, 0, clientX - box.right),
        Math.max(box.top - clientY, 0, clientY - box.bottom),
      );
      if (away < least) { least = away; best = mark; }
    }
    return best;
  }

  const places = (svg) => [...fingers.values()].slice(0, 2).map((x) => unitsAt(svg, x));
  function begin(svg) {
    forget();
    move(0);
    const window_ = read(region());
    pinch = { svg, window: window_, times: places(svg).map((at) => timeAt(window_, at)) };
  }
  // What was under each finger stays under it.
  function spread() {
    const [one, other] = places(pinch.svg);
    if (other === undefined) return;
    const apart = Math.max(Math.abs(other - one), LEAST_SPREAD) * Math.sign(other - one || 1);
    const [first, second] = pinch.times;
    const wanted = (Math.abs(second - first) / Math.abs(apart)) * PLOT;
    const length = Math.min(Math.max(wanted, SHORTEST_S), LONGEST_S);
    const since = (first + second) / 2 - ((one + other) / 2 / PLOT) * length;
    pinch.next = { since, until: since + length };
    preview(pinch.next);
  }
  function end() {
    const next = pinch.next;
    pinch = null;
    fingers.clear();
    swallowClick();
    if (next) goTo(next.since, next.until);
    else move(0);
  }

  // A finger that holds still asks for what is under it, not for the browser's menu of a link.
  document.addEventListener("contextmenu", (event) => {
    if (drag?.isTouch && event.target.closest?.("#plot, #map")) event.preventDefault();
  });
  document.addEventListener("dragstart", (event) => { if (event.target.closest?.("#plot")) event.preventDefault(); });
})();
