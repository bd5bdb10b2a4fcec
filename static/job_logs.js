// A job's log as it comes: the page's lines first, then the stream, in batches, with a bounded page.
(() => {
  const MOST = 5000; // lines on the page; the download has them all
  const LEVELS = ["debug", "info", "warning", "error", "critical"];
  const WORDS = { live: "Live", offline: "Offline", failed: "Failed", ended: "Ended" };
  const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const open = new Map(); // section → its Log

  const visible = (text) => String(text).replace(UNSEEN, (sign) => `⟨${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  const rank = (level) => (LEVELS.includes(level) ? LEVELS.indexOf(level) : 1);

  class Log {
    constructor(section) {
      this.section = section;
      this.lines = section.querySelector(".log-lines");
      this.after = section.dataset.after;
      this.waiting = [];
      this.tries = 0;
      this.part("level").addEventListener("change", () => this.filter());
      this.part("search").addEventListener("input", () => this.filter());
      this.part("clear").addEventListener("click", () => this.clear());
      this.part("scroll").addEventListener("click", () => this.follow(!this.isFollowing));
      this.part("wrap").addEventListener("click", () => {
        const wraps = this.part("wrap").getAttribute("aria-pressed") !== "true";
        this.part("wrap").setAttribute("aria-pressed", String(wraps));
        this.lines.classList.toggle("unwrapped", !wraps);
        this.toEnd();
      });
      this.part("pause").addEventListener("click", () => this.pause(!this.isPaused));
      this.part("status").addEventListener("click", () => this.connect());
      this.lines.addEventListener("scroll", () => {
        const isAtEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 24;
        if (isAtEnd !== this.isFollowing && !this.isMoving) this.follow(isAtEnd);
        this.isMoving = false;
      });
      this.count();
      this.toEnd();
      if ("ended" in section.dataset) this.say("ended");
      else this.connect();
    }
    part(name) { return this.section.querySelector(`[data-log-${name}]`); }
    get isFollowing() { return this.part("scroll").getAttribute("aria-pressed") === "true"; }
    get isPaused() { return this.part("pause").getAttribute("aria-pressed") === "true"; }

    connect() {
      this.source?.close();
      this.source = new EventSource(`${this.section.dataset.log}?last_event_id=${this.after}`);
      this.source.onopen = () => { this.tries = 0; this.say("live"); };
      this.source.onerror = () => {
        if (this.source.readyState === EventSource.CLOSED) return this.say("failed");
        this.tries += 1;
        this.say(navigator.onLine ? "reconnecting" : "offline");
      };
      this.source.onmessage = (event) => {
        this.after = event.lastEventId;
        this.waiting.push(JSON.parse(event.data));
        this.soon();
      };
      this.source.addEventListener("end", () => {
        this.source.close();
        this.part("pause").disabled = true;
        this.pause(false);
        this.say("ended");
      });
    }
    say(status) {
      const button = this.part("status");
      button.dataset.logStatus = status;
      button.disabled = status !== "failed";
      button.title = status === "failed" ? "Try again" : "";
      this.part("word").textContent = status === "reconnecting" ? `Reconnecting ${this.tries}` : WORDS[status];
    }
    soon() {
      if (this.isPaused || this.timer) return this.count();
      this.timer = setTimeout(() => { this.timer = 0; this.flush(); }, 100);
    }
    flush() {
      if (!this.section.isConnected || this.isPaused) return;
      const fragment = document.createDocumentFragment();
      for (const line of this.waiting.splice(0).slice(-MOST)) fragment.append(this.line(line));
      this.lines.append(fragment);
      while (this.lines.childElementCount > MOST) this.lines.firstElementChild.remove();
      this.part("clear").disabled = false;
      this.section.querySelector("[data-log-empty]").hidden = true;
      this.count();
      this.toEnd();
    }
    line(said) {
      const at = new Date(said.timestamp);
      const item = document.createElement("li");
      item.dataset.level = said.level.toLowerCase();
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
      const least = this.part("level").value;
      const text = this.part("search").value.toLowerCase();
      return (!least || rank(item.dataset.level) >= rank(least)) && (!text || item.textContent.toLowerCase().includes(text));
    }
    filter() {
      for (const item of this.lines.children) item.hidden = !this.isWanted(item);
      this.count();
      this.toEnd();
    }
    count() {
      const all = this.lines.childElementCount;
      const shown = this.lines.querySelectorAll(":scope > li:not([hidden])").length;
      const rest = this.isPaused && this.waiting.length ? `, ${this.waiting.length} held back` : "";
      this.part("count").textContent = (shown === all ? `${all} ${all === 1 ? "log" : "logs"}` : `${shown} of ${all} logs`) + rest;
    }
    clear() {
      this.lines.replaceChildren();
      this.part("clear").disabled = true;
      this.count();
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
      clearTimeout(this.timer);
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
  document.addEventListener("DOMContentLoaded", look);
  document.addEventListener("htmx:after:swap", look);
  document.addEventListener("job-panel-emptied", look);
})();
