// A picture's table stays as open as its reader left it, also when the page around it is refreshed.
htmx.registerExtension("open-tables", {
  htmx_before_morph_attr: (element, { attrName }) => !(attrName === "open" && element.matches("details.as-table")),
});
