// A refresh leaves chosen what the reader has chosen.
(() => {
  let before; // what was chosen
  document.addEventListener("htmx:before:swap", (event) => {
    const region = event.detail.ctx.target;
    if (!region?.matches?.("[data-live]")) return;
    before = [...region.querySelectorAll("select[id]")].map((each) => [each.id, each.value]);
  });
  document.addEventListener("htmx:after:swap", () => {
    if (!before) return;
    for (const [id, value] of before) {
      const select = document.getElementById(id);
      if (select) select.value = value;
    }
    before = undefined;
  });
})();

// Dead letters: one box picks all of the page. Without scripts the boxes are picked one by one.
(() => {
  const boxes = () => [...document.querySelectorAll("#dead-letters [data-select]")];
  function show() {
    const all = document.querySelector("[data-pick-all]");
    if (!all) return;
    const picked = boxes().filter((box) => box.checked).length;
    all.hidden = false;
    all.checked = picked > 0 && picked === boxes().length;
    all.indeterminate = picked > 0 && picked < boxes().length;
  }
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) boxes().forEach((box) => { box.checked = event.target.checked; });
    show();
  });
  document.addEventListener("htmx:after:swap", show);
  show();
})();
