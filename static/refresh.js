// How often the page refreshes itself, and "Refresh now". The choice is in the address; the server's links keep it.
(() => {
  const USUAL = "live";
  const bar = () => document.querySelector("[data-refreshes]");
  const part = () => document.querySelector(bar().dataset.refreshes);
  const chosen = () => new URLSearchParams(location.search).get("refresh") || USUAL;
  // What the part shows; a look at one batch, say, may have put its own address there.
  const shown = () => new URL(part()?.getAttribute("hx-get") ?? location.href, location.href);

  function setIn(url, often) {
    if (often === USUAL) url.searchParams.delete("refresh");
    else url.searchParams.set("refresh", often);
    return url.pathname + url.search;
  }

  async function load(address, push) {
    if (!part()) return location.assign(address); // the page says why there is nothing
    const button = document.getElementById("refresh-now");
    button.classList.add("busy");
    try {
      await htmx.ajax("GET", address, {
        source: button, target: part(), swap: "outerMorph", push, askedFrom: location.href,
        headers: { "HX-Target": `${part().localName}#${part().id}` },
      });
    } finally {
      document.getElementById("refresh-now")?.classList.remove("busy");
    }
  }
  stoker.load = load;
  // Who went on meanwhile is not brought back.
  document.addEventListener("htmx:before:swap", (event) => {
    const { askedFrom } = event.detail.ctx;
    if (askedFrom && askedFrom !== location.href) event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#refresh-now") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    load(shown().pathname + shown().search, "false");
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-refreshes] select")) load(setIn(shown(), event.target.value), "true");
  });

  // Filters and links of this page that were there before the choice.
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, request } = event.detail.ctx;
    if (request.method !== "GET" || !bar() || sourceElement.matches("[data-live], #refresh-now")) return;
    const url = new URL(request.action, location.href);
    if (url.pathname === location.pathname) request.action = setIn(url, chosen());
  });

  // Back and Forward: the menu says what the address says.
  function follow() {
    const menu = bar()?.querySelector("select");
    if (menu && [...menu.options].some((each) => each.value === chosen())) menu.value = chosen();
  }
  for (const event of ["htmx:after:swap", "htmx:after:history:push", "pageshow"]) addEventListener(event, follow);
})();
