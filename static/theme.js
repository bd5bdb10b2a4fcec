// The reader's theme, before the first paint: the system's unless light or dark was chosen here.
(() => {
  const root = document.documentElement;
  root.classList.add("js"); // what only scripts can do shows only with them
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  apply(kept());
  addEventListener("storage", (event) => { if (event.key === "theme") apply(event.newValue); });

  // The switch works only with this script, so it shows only with it.
  const show = () => {
    const group = document.getElementById("theme");
    if (!group) return;
    group.hidden = false;
    for (const radio of group.querySelectorAll("input")) radio.checked = radio.value === (kept() || "system");
  };
  document.addEventListener("DOMContentLoaded", show);
  document.addEventListener("htmx:after:swap", show);
  document.addEventListener("change", (event) => {
    if (event.target.name !== "theme") return;
    try { localStorage.setItem("theme", event.target.value); } catch { /* private window: for this page only */ }
    apply(event.target.value);
  });
})();
