// Picking rows: one, a range with Shift, a page, or all that match; the bar says how many, and what may be
// done to how many of them.
(() => {
  let last; // the row that was picked before
  const bar = () => document.getElementById("bulk-bar");
  const boxes = () => [...document.querySelectorAll(".joblist-row [data-select]")];
  const isAll = () => bar()?.querySelector("[data-matching]")?.checked ?? false;

  // How many of those that are picked have one of these statuses; undefined where nobody has counted.
  function count(picked, statuses) {
    if (!isAll()) return picked.filter((box) => statuses.includes(box.closest(".joblist-row").dataset.status)).length;
    const byStatus = bar().dataset.byStatus;
    if (!byStatus) return undefined;
    return Object.entries(JSON.parse(byStatus)).reduce((sum, [status, jobs]) => sum + (statuses.includes(status) ? jobs : 0), 0);
  }
  function offer(picked) {
    for (const button of bar().querySelectorAll("[data-statuses]")) {
      const statuses = button.dataset.statuses.split(" ");
      const jobs = count(picked, statuses);
      const isPartly = jobs && (isAll() || jobs !== picked.length);
      button.textContent = button.dataset.verb + (isPartly ? ` ${jobs.toLocaleString("en")}` : "");
      if (jobs === 0) button.setAttribute("aria-disabled", "true");
      else button.removeAttribute("aria-disabled");
      button.title = jobs === 0 ? button.dataset.reason : "";
      document.getElementById(button.getAttribute("aria-describedby")).textContent = button.title;
    }
  }

  function tell() {
    const all = boxes();
    const picked = all.filter((box) => box.checked);
    const page = document.getElementById("pick-all");
    if (page) {
      page.checked = picked.length > 0 && picked.length === all.length;
      page.indeterminate = picked.length > 0 && picked.length < all.length;
    }
    if (!bar()) return;
    bar().hidden = picked.length === 0;
    if (picked.length === 0 && bar().querySelector("[data-matching]")) bar().querySelector("[data-matching]").checked = false;
    bar().querySelector("[data-picked]").textContent = isAll() ? bar().querySelector("[data-matching]").dataset.all : picked.length;
    offer(picked);
    bar().querySelector("[data-ids]").replaceChildren(
      ...(isAll() ? [] : picked).map((box) => {
        const input = document.createElement("input");
        input.type = "hidden";
        input.name = "ids";
        input.value = box.value;
        return input;
      }),
    );
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#bulk-bar [aria-disabled=true]")) event.preventDefault();
    const box = event.target.closest?.(".joblist-row [data-select]");
    if (box) {
      const all = boxes();
      const [from, to] = [all.indexOf(last), all.indexOf(box)];
      if (event.shiftKey && from >= 0) for (const each of all.slice(Math.min(from, to), Math.max(from, to) + 1)) each.checked = box.checked;
      last = box;
    }
    const isUnpicked = event.target.closest?.("[data-unpick]");
    if (isUnpicked) for (const each of boxes()) each.checked = false;
    if (box || isUnpicked) tell();
    if (isUnpicked) document.dispatchEvent(new Event("change")); // the list may go on
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-pick-all]")) for (const each of boxes()) each.checked = event.target.checked;
    if (event.target.matches?.("[data-select], [data-pick-all], [data-matching]")) tell();
  });
  document.addEventListener("htmx:after:swap", tell);
  document.addEventListener("DOMContentLoaded", tell); // the browser may have kept some
})();
