// A job's log as it comes: the page's lines first, then the stream, in batches, with a bounded page.
// What is wanted of it is picked among the lines that are there; where they are not all, the server does it.
(() => {
  const MOST = 5000; // lines on the page; the download has them all
  const TICK_MS = 100;
  const ASK_MS = 300;
  const AGAIN_MS = 5000; // after a refusal, and twice as long after the next
  const MOST_AGAIN_MS = 60000;
  const LEVELS = ["debug", "info", "warning", "error", "critical"];
  const WORDS = { live: "Live", offline: "Offline", failed: "Failed", ended: "Ended" };
  const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const open = new Map(); // section → its Log

  const visible = (text) => String(text).replace(UNSEEN, (sign) => `⟨${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  const rank = (level) => (LEVELS.includes(level) ? LEVELS.indexOf(level) : 1);
  const number = (count) => count.toLocaleString("en-US");

  // A number keeps every digit, where the browser can tell which it had.
  const exact = (key, value, said) => (typeof value === "number" && JSON.rawJSON && said?.source !== String(value) ? JSON.rawJSON(said.source) : value);

  // What the reader chose outlasts a reload, where the browser lets us keep it.
  const kept = {
    get(name) { try { return JSON.parse(sessionStorage.getItem(name)) ?? {}; } catch { return {}; } },
    set(name, value) { try { sessionStorage.setItem(name, JSON.stringify(value)); } catch { /* it does not */ } },
  };

  class Log {
    constructor(section) {
      this.section = section;
      this.name = `stoker-log-${section.dataset.job}`;
      this.waiting = [];
      this.tries = 0;
      this.refusals = 0;
      this.asking = 0;
      this.take();
      this.part("level").addEventListener("change", () => this.choose());
      this.part("attempt").addEventListener("change", () => this.choose());
      this.part("search").addEventListener("input", () => this.choose(ASK_MS));
      this.part("form").addEventListener("submit", (event) => { event.preventDefault(); this.choose(); });
      this.part("clear").addEventListener("click", () => this.clear());
      this.part("scroll").addEventListener("click", () => { this.follow(!this.isFollowing); this.keep(); });
      this.part("wrap").addEventListener("click", () => { this.wrap(!this.wraps); this.keep(); });
      this.part("pause").addEventListener("click", () => this.pause(!this.isPaused));
      this.part("status").addEventListener("click", () => { this.refusals = 0; this.connect(); });
      this.restore();
      this.toEnd();
      if ("ended" in section.dataset) this.say("ended");
      else this.connect();
    }
    part(name) { return this.section.querySelector(`[data-log-${name}]`); }
    get isFollowing() { return this.part("scroll").getAttribute("aria-pressed") === "true"; }
    get isPaused() { return this.part("pause").getAttribute("aria-pressed") === "true"; }
    get wraps() { return this.part("wrap").getAttribute("aria-pressed") === "true"; }
    get wanted() { return { level: this.part("level").value, attempt: this.part("attempt").value, q: this.part("search").value.trim() }; }
    get isWhole() { return !("earlier" in this.place.dataset) && !("part" in this.place.dataset); }

    // The lines that the server sent, from the first or for what was wanted since.
    take() {
      this.place = this.section.querySelector("#job-log-lines");
      this.lines = this.place.querySelector(".log-lines");
      this.lines.classList.toggle("unwrapped", !this.wraps);
      this.after = this.place.dataset.after;
      this.lastBreak = [...this.lines.querySelectorAll(".log-break")].pop();
      this.hasAttempts = Boolean(this.lastBreak);
      this.part("clear").disabled = !this.lines.childElementCount;
      this.attempt = this.lines.lastElementChild?.dataset.attempt ?? "";
      this.lines.addEventListener("scroll", () => {
        const isAtEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 24;
        if (isAtEnd !== this.isFollowing && !this.isMoving) this.follow(isAtEnd);
        this.isMoving = false;
      });
    }
    restore() {
      const all = kept.get("stoker-log");
      if (all.wraps === false) this.wrap(false);
      if (all.follows === false) this.follow(false);
      const { level = "", attempt = "", q = "" } = kept.get(this.name);
      if ("part" in this.place.dataset || !(level || attempt || q)) return this.filter(); // the address says it
      this.part("level").value = level;
      this.part("attempt").value = attempt;
      this.part("search").value = q;
      for (const select of [this.part("level"), this.part("attempt")]) if (select.selectedIndex < 0) select.value = "";
      this.choose();
    }
    keep() {
      kept.set("stoker-log", { wraps: this.wraps, follows: this.isFollowing });
      kept.set(this.name, this.wanted);
    }

    connect() {
      this.source?.close();
      clearTimeout(this.againTimer);
      const source = this.source = new EventSource(`${this.section.dataset.log}?last_event_id=${this.after}`);
      source.onopen = () => this.heard();
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) return this.refused();
        this.lose();
      };
      source.onmessage = (event) => {
        if (this.tries) this.heard();
        this.after = event.lastEventId;
        this.waiting.push(event.data);
        // What would leave the page at once need not come to it; while it is held back, neither.
        if (this.waiting.length >= 2 * MOST) this.drop(this.waiting.length - MOST);
        this.soon();
      };
      source.addEventListener("end", () => {
        source.close();
        this.section.dataset.ended = "";
        this.part("pause").disabled = true;
        this.pause(false);
        this.say("ended");
      });
    }
    heard() {
      this.tries = this.refusals = 0;
      this.say("live");
    }
    lose() {
      this.tries += 1;
      this.say(navigator.onLine ? "reconnecting" : "offline");
    }
    // The browser gives up where it gets an answer that is no stream, as from a proxy whose server restarts.
    refused() {
      this.say("failed");
      const pause = Math.min(AGAIN_MS * 2 ** this.refusals, MOST_AGAIN_MS);
      this.refusals += 1;
      this.againTimer = setTimeout(() => { if (this.section.isConnected) this.connect(); }, pause);
    }
    // What the page hears, or not, on its own stream of the same server: a log may be silent for long, and so
    // its silence tells nothing.
    doubt(connection) {
      const { logStatus } = this.part("status").dataset;
      if (["reconnecting", "offline"].includes(connection)) {
        if (logStatus === "live") this.lose();
      } else if (connection === "live" && this.source?.readyState === EventSource.OPEN && ["reconnecting", "offline"].includes(logStatus)) this.connect();
    }
    say(status) {
      const button = this.part("status");
      button.dataset.logStatus = status;
      button.disabled = status !== "failed";
      button.title = status === "failed" ? "Try again" : "";
      this.part("word").textContent = status === "reconnecting" ? `Reconnecting ${this.tries}` : WORDS[status];
    }
    soon() {
      if (!this.timer) this.timer = setTimeout(() => { this.timer = 0; this.flush(); }, TICK_MS);
    }
    flush() {
      if (!this.section.isConnected) return;
      if (this.isPaused) return this.count();
      if (this.waiting.length > MOST) this.drop(this.waiting.length - MOST);
      if (!this.waiting.length) return;
      const fragment = document.createDocumentFragment();
      this.wants = this.wanted;
      for (const data of this.waiting.splice(0)) this.add(fragment, JSON.parse(data, exact));
      this.lines.append(fragment);
      this.trim();
      this.part("clear").disabled = false;
      this.section.querySelector("[data-log-empty]").hidden = true;
      this.count();
      this.toEnd();
    }
    add(fragment, said) {
      const attempt = String(said.attempt_number ?? this.attempt);
      const isNew = attempt !== this.attempt;
      if (isNew && this.attempt) this.meet(attempt);
      this.attempt = attempt;
      const item = this.line(said, attempt);
      if (isNew && this.hasAttempts) fragment.append(this.lastBreak = this.breakOf(attempt));
      fragment.append(item);
      this.all += 1;
      if (item.hidden) return;
      this.shown += 1;
      if (this.lastBreak) this.lastBreak.hidden = false;
    }
    // Another attempt begins: from now on it is said of which one a line is.
    meet(attempt) {
      const select = this.part("attempt");
      const last = Number(select.options[select.options.length - 1].value);
      for (let each = last + 1; each <= Number(attempt) && each <= last + 100; each += 1) select.add(new Option(`Attempt ${each}`, String(each)));
      select.closest("label").hidden = false;
      if (this.hasAttempts) return;
      this.hasAttempts = true;
      this.head();
    }
    // A line's attempt is said above it, also above the first of those that are left.
    head() {
      const first = this.lines.firstElementChild;
      if (!this.hasAttempts || !first || first.classList.contains("log-break")) return;
      first.before(this.breakOf(first.dataset.attempt));
      if (!this.lastBreak?.isConnected) this.lastBreak = this.lines.firstElementChild;
      this.hideBreaks();
    }
    breakOf(attempt) {
      const item = document.createElement("li");
      item.className = "log-break";
      item.dataset.attempt = attempt;
      item.textContent = `Attempt ${attempt || "not known"}`;
      item.hidden = true;
      return item;
    }
    hideBreaks() {
      let isFollowed = false;
      for (let each = this.lines.lastElementChild; each; each = each.previousElementSibling) {
        if (!each.classList.contains("log-break")) isFollowed ||= !each.hidden;
        else {
          each.hidden = !isFollowed;
          isFollowed = false;
        }
      }
    }
    trim() {
      let over = this.all - MOST;
      if (over <= 0) return;
      for (let first = this.lines.firstElementChild; first && over > 0; first = this.lines.firstElementChild) {
        if (first.classList.contains("log-line")) {
          over -= 1;
          this.all -= 1;
          if (!first.hidden) this.shown -= 1;
        }
        first.remove();
      }
      this.head();
      this.cut();
    }
    drop(count) {
      this.waiting.splice(0, count);
      this.cut();
    }
    cut() {
      this.place.dataset.earlier = "";
      const note = this.part("cut");
      note.hidden = false;
      note.textContent = `The page keeps the newest ${number(MOST)} lines; the download has them all.`;
    }
    line(said, attempt) {
      const at = new Date(said.timestamp);
      const item = document.createElement("li");
      item.className = "log-line";
      item.dataset.level = said.level.toLowerCase();
      item.dataset.attempt = attempt;
      const time = document.createElement("time");
      time.dateTime = said.timestamp;
      time.title = stoker.zone === "UTC" ? stoker.clock(at) : `${stoker.clock(at)} (${at.toISOString().slice(0, 19).replace("T", " ")} UTC)`;
      time.textContent = stoker.time(at);
      const level = document.createElement("b");
      level.className = "level";
      level.textContent = visible(said.level.toUpperCase());
      const message = document.createElement("span");
      message.textContent = visible(said.message);
      if (said.context) {
        const context = document.createElement("span");
        context.className = "log-context";
        context.textContent = ` ${visible(JSON.stringify(said.context))}`;
        message.append(context);
      }
      item.append(time, " ", level, " ", message);
      item.hidden = !this.isWanted(item);
      return item;
    }
    isWanted(item) {
      const { level, attempt, q } = this.wants;
      return (!level || rank(item.dataset.level) >= rank(level)) && (!attempt || item.dataset.attempt === attempt) && (!q || item.textContent.toLowerCase().includes(q.toLowerCase()));
    }

    // Something else is wanted of it.
    choose(patience = 0) {
      this.keep();
      const query = new URLSearchParams(Object.entries(this.wanted).filter(([, value]) => value));
      const download = this.part("download");
      download.href = download.getAttribute("href").split("?")[0] + (query.size ? `?${query}` : "");
      this.filter();
      this.asking += 1;
      clearTimeout(this.askTimer);
      if (!this.isWhole) this.askTimer = setTimeout(() => this.ask(query, this.asking), patience);
    }
    filter() {
      this.all = this.shown = 0;
      this.wants = this.wanted;
      for (const item of this.lines.querySelectorAll(":scope > .log-line")) {
        item.hidden = !this.isWanted(item);
        this.all += 1;
        if (!item.hidden) this.shown += 1;
      }
      this.hideBreaks();
      this.count();
      this.toEnd();
    }
    // Not all lines are here: the server has them.
    async ask(query, asked) {
      let text;
      try {
        const answer = await fetch(`${this.part("form").action}?${query}`, { headers: { "HX-Request": "true", "HX-Request-Type": "partial" } });
        if (!answer.ok) return;
        text = await answer.text();
      } catch {
        return; // what is here is filtered all the same
      }
      if (asked !== this.asking || !this.section.isConnected) return;
      const wasEnded = "ended" in this.section.dataset;
      this.source?.close();
      this.waiting = [];
      this.place.outerHTML = text;
      this.take();
      this.filter();
      if (!wasEnded) this.connect();
    }
    count() {
      const words = this.all === 1 && this.shown === 1 ? "log" : "logs";
      const rest = this.isPaused && this.waiting.length ? `, ${number(this.waiting.length)} held back` : "";
      this.part("count").textContent = (this.shown === this.all ? `${number(this.all)} ${words}` : `${number(this.shown)} of ${number(this.all)} ${words}`) + rest;
    }
    clear() {
      this.lines.replaceChildren();
      this.all = this.shown = 0;
      this.lastBreak = undefined;
      this.attempt = "";
      this.part("clear").disabled = true;
      this.count();
    }
    wrap(does) {
      this.part("wrap").setAttribute("aria-pressed", String(does));
      this.lines.classList.toggle("unwrapped", !does);
      this.toEnd();
    }
    follow(does) {
      this.part("scroll").setAttribute("aria-pressed", String(does));
      if (does) this.toEnd();
    }
    toEnd() {
      if (!this.isFollowing) return;
      const end = this.lines.scrollHeight - this.lines.clientHeight;
      if (Math.abs(this.lines.scrollTop - end) < 1) return;
      this.isMoving = true; // not the reader
      this.lines.scrollTop = end;
    }
    pause(does) {
      this.part("pause").setAttribute("aria-pressed", String(does));
      this.part("pause").querySelector("span").textContent = does ? "Resume" : "Pause";
      if (!does) this.flush();
      this.count();
    }
    end() {
      this.source?.close();
      for (const timer of [this.timer, this.askTimer, this.againTimer]) clearTimeout(timer);
    }
  }

  function look() {
    for (const [section, log] of open) {
      if (section.isConnected) continue;
      log.end();
      open.delete(section);
    }
    for (const section of document.querySelectorAll("[data-log]")) if (!open.has(section)) open.set(section, new Log(section));
  }
  const root = document.documentElement;
  new MutationObserver(() => { for (const log of open.values()) log.doubt(root.dataset.connection); })
    .observe(root, { attributes: true, attributeFilter: ["data-connection"] });
  document.addEventListener("DOMContentLoaded", look);
  document.addEventListener("htmx:after:swap", look);
  document.addEventListener("job-panel-emptied", look);
})();
