// Picking incidents: how many are picked is said, and what needs one waits for it.
(() => {
  const boxes = () => [...document.querySelectorAll("#picked [data-select]")];
  function tell() {
    const all = boxes();
    const picked = all.filter((box) => box.checked).length;
    const words = document.querySelector("[data-picked]");
    if (words) words.textContent = picked ? `${picked} picked` : "None picked";
    document.querySelectorAll("[data-needs-picked]").forEach((button) => { button.disabled = !picked; });
    const page = document.querySelector("[data-pick-page]");
    if (!page) return;
    page.checked = picked > 0 && picked === all.length;
    page.indeterminate = picked > 0 && picked < all.length;
  }
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-pick-page]")) boxes().forEach((box) => { box.checked = event.target.checked; });
    if (event.target.closest?.("#picked")) tell();
  });
  document.addEventListener("DOMContentLoaded", tell);
  document.addEventListener("htmx:after:swap", tell);
  addEventListener("pageshow", tell);
})();
