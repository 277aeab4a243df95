/* One example, large, with the button that removes it. */
const SketchPreview = (() => {
  "use strict";

  const { el, set, say } = Dom;
  const { button } = SketchIcons;
  const LARGE = 260; // CSS pixels

  class Preview {
    /** actions.removeExample(id, index) is called when the visitor asks for it. */
    constructor({ t, actions, inkOf }) {
      this.t = t;
      this.inkOf = inkOf;
      this.picture = el("canvas", { class: "large", role: "img" });
      this.ink = el("canvas", { class: "large-ink", role: "img", "data-seen": "no",
        "aria-label": t("network_sees") });
      this.title = el("h2", { dir: "auto" });
      this.remove = button(" ", { glyph: "erase", text: " ", kind: "wide bad", onclick: () => {
        this.node.close();
        actions.removeExample(this.id, this.index);
      } });
      const close = button(t("close"), { text: t("close"), kind: "wide",
        onclick: () => this.node.close() });
      this.node = el("dialog", { class: "preview",
        onclick: (event) => event.target === this.node && this.node.close() },
        el("div", { class: "preview-body" }, this.title,
          el("div", { class: "preview-pictures" }, this.picture,
            el("figure", { class: "seen" }, this.ink,
              el("figcaption", { text: t("network_sees") }))),
          this.remove, close));
    }

    show(symbol, index) {
      this.id = symbol.id;
      this.index = index;
      const drawing = symbol.examples[index];
      const values = { number: index + 1, name: symbol.name };
      const name = this.t("show_example", values);
      say(this.title, name);
      set(this.node, "aria-label", name);
      set(this.picture, "aria-label", this.t("example_of", values));
      const remove = this.t("remove_example", values);
      say(this.remove.querySelector("span"), remove);
      set(this.remove, "aria-label", remove);
      this.node.showModal();
      SketchPads.paintThumbnail(this.picture, drawing, LARGE);
      SketchPads.paintInk(this.ink, this.inkOf(drawing));
    }
  }

  return { Preview };
})();
