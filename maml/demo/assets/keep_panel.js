/* What can be taken away: the set as a link or a file, the adapted network. */
const SketchKeepPanel = (() => {
  "use strict";

  const { el } = Dom;
  const { button } = SketchIcons;

  class KeepPanel {
    constructor({ t, actions }) {
      const file = el("input", { type: "file", accept: ".json,application/json", hidden: true,
        tabindex: "-1", "aria-label": t("open_set"), onchange: () => {
          if (file.files[0]) actions.open(file.files[0]);
          file.value = "";
        } });
      const tool = (key, glyph, onclick) => button(t(key), { glyph, text: t(key), onclick });
      this.copying = tool("copy_link", "link", actions.copyLink);
      this.exporting = tool("download_network", "network", actions.exportNetwork);
      this.node = el("section", { class: "panel keep", "aria-label": t("keep") },
        el("h2", { text: t("keep") }),
        el("div", { class: "group" }, this.copying, tool("save_set", "save", actions.save),
          tool("open_set", "open", () => file.click()), this.exporting, file),
        el("p", { class: "note", text: t("privacy") }),
        el("p", { class: "note", text: t("keep_note") }));
    }

    show(doc) {
      this.copying.disabled = !SketchDocument.taughtCount(doc);
      this.exporting.disabled = SketchDocument.taughtCount(doc) < 2;
    }
  }

  return { KeepPanel };
})();
