// The reader's choices: theme, clock, density and keys. The server has written them into the page; here
// they are changed at once, and kept in the cookie that it reads. First of all scripts: what others share
// is in `stoker`.
(() => {
  const root = document.documentElement;
  root.classList.add("js"); // what only scripts can do shows only with them
  const name = root.dataset.cookie;
  const path = root.dataset.root.replace(/(.)\/$/, "$1");

  const kept = () => new URLSearchParams(document.cookie.split("; ").find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1) ?? "");
  function keep(changed) {
    const all = new URLSearchParams({ ...Object.fromEntries(kept()), ...changed });
    document.cookie = `${name}=${all}; path=${path}; max-age=${400 * 86400}; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
  }
  const own = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  function apply(choices) {
    for (const [choice, place] of [["theme", "theme"], ["density", "density"], ["keys", "singleKeys"]]) {
      const value = choices.get(choice);
      // Without a theme the system's holds; Pico takes any other word for a choice of light.
      if (value === "system") delete root.dataset[place];
      else if (value) root.dataset[place] = value;
    }
    for (const radio of document.querySelectorAll("#preferences input[type=radio]")) {
      const value = choices.get(radio.name);
      if (value) radio.checked = radio.value === value;
    }
  }

  document.addEventListener("change", (event) => {
    const radio = event.target;
    if (!radio.closest?.("#preferences") || radio.type !== "radio") return;
    keep({ [radio.name]: radio.value, zone: own() });
    apply(kept());
    if (radio.name === "time") location.reload(); // every time on the page reads otherwise now
  });
  // Another tab may have changed them meanwhile.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) apply(kept()); });
  // The reader's clock travels.
  if (kept().get("time") === "local" && kept().get("zone") !== own()) keep({ zone: own() });

  // A time as the page's clock has it, for what scripts write themselves.
  const zone = root.dataset.zone || "UTC";
  const format = (options) => {
    try { return new Intl.DateTimeFormat("sv-SE", { timeZone: zone, ...options }); }
    catch { return new Intl.DateTimeFormat("sv-SE", { timeZone: "UTC", ...options }); } // a browser that knows fewer zones
  };
  const time = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = format({ year: "numeric", month: "2-digit", day: "2-digit" });
  window.stoker = {
    root: root.dataset.root,
    zone: root.dataset.zoneWord || "UTC",
    time: (at) => time.format(at),
    // A time of an address as a field for times has it; "" for what is none. Without a zone it is UTC's.
    field: (address, withSeconds) => {
      const at = Date.parse(/T[^Z+-]*$/.test(address ?? "") ? `${address}Z` : address);
      return Number.isNaN(at) ? "" : `${day.format(at)}T${withSeconds ? time.format(at) : time.format(at).slice(0, 5)}`;
    },
    clock: (at) => `${day.format(at)} ${time.format(at)} ${root.dataset.zoneWord || "UTC"}`,
  };
})();
