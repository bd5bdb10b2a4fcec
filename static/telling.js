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
