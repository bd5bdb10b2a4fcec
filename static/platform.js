// On a screen too narrow for all tabs, the open page's is in sight from the first picture on.
(() => {
  const tabs = document.querySelector(".tabs");
  const open = tabs?.querySelector("[aria-current]");
  if (!open) return;
  // By the bar itself: scrollIntoView would move the page, too.
  const box = tabs.getBoundingClientRect(), tab = open.getBoundingClientRect();
  tabs.scrollLeft += tab.left + tab.width / 2 - (box.left + box.width / 2);
})();
