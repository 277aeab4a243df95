/* Icons and the buttons that carry them. */
const SketchIcons = (() => {
  "use strict";

  const PATHS = {
    ask: "M4 20l4-1L20 7l-3-3L5 16zM14 7l3 3",
    play: "M7 5l12 7-12 7z",
    plus: "M12 5v14M5 12h14",
    close: "M6 6l12 12M18 6L6 18",
    undo: "M9 5L4 10l5 5M4 10h10a5 5 0 0 1 0 10h-4",
    redo: "M15 5l5 5-5 5M20 10H10a5 5 0 0 0 0 10h4",
    erase: "M4 16l9-10 7 6-8 8H8zM10 20h10",
    earlier: "M14 6l-6 6 6 6",
    later: "M10 6l6 6-6 6",
    picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
    camera: "M4 8h4l2-3h4l2 3h4v11H4zM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7z",
    check: "M5 13l4 4L19 7",
    save: "M12 4v11M7 10l5 5 5-5M5 20h14",
    open: "M12 16V5M7 10l5-5 5 5M5 20h14",
    spark: "M12 3l2.2 6.8L21 12l-6.8 2.2L12 21l-2.2-6.8L3 12l6.8-2.2z",
    lens: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L21 21",
    link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1.5 1.5M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.5-1.5",
    network: "M5 7h.01M5 17h.01M12 12h.01M19 7h.01M19 17h.01M5 7l7 5 7-5M5 17l7-5 7 5",
  };

  function icon(name) {
    const svg = makeSvg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
    makeSvg("path", { d: PATHS[name] }, svg);
    return svg;
  }

  /** A button with an icon, a text or both; `label` is its accessible name. */
  function button(label, { glyph, text, kind = "", onclick }) {
    return Dom.el("button", { type: "button", class: "button " + kind, onclick,
      title: text ? null : label, "aria-label": label },
      glyph ? icon(glyph) : null, text ? Dom.el("span", { text, dir: "auto" }) : null);
  }

  return { icon, button };
})();
