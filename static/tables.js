// A picture's table stays as open as its reader left it, also when the page around it is refreshed.
document.addEventListener("htmx:before:morph:attr", (event) => {
  if (event.detail.attrName === "open" && event.target.matches("details.as-table")) event.preventDefault();
});
