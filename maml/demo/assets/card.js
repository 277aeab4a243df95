/* A symbol's card: its name, the pad for its next example, the examples it has. */
const SketchCard = (() => {
  "use strict";

  const { el, set, say, label } = Dom;
  const { button } = SketchIcons;
  const { LIMITS, drawingCount } = SketchDocument;
  const THUMB = 44; // CSS pixels

  const colourOf = (id) => `var(--symbol-${1 + (id - 1) % LIMITS.symbols})`;

  /** A canvas whose ink is painted when it is new. */
  function showInk(canvas, ink) {
    if (canvas.shownInk === ink) return;
    canvas.shownInk = ink;
    SketchPads.paintInk(canvas, ink);
  }

  class Card {
    /** context: {t, actions, inkOf}; inkOf(drawing) gives its ink, or null. */
    constructor(id, context) {
      const { t, actions } = context;
      this.id = id;
      this.context = context;
      this.tiles = [];
      this.name = el("input", {
        type: "text", class: "name", dir: "auto", maxlength: LIMITS.name, autocomplete: "off",
        spellcheck: "false", enterkeyhint: "done",
        onchange: () => {
          actions.rename(id, this.name.value);
          this.name.value = this.symbol.name;
        },
        onkeydown: (event) => {
          if (event.key === "Enter") this.name.blur();
          if (event.key === "Escape") {
            this.name.value = this.symbol.name;
            this.name.blur();
          }
        },
      });
      const tool = (glyph, onclick) => button(" ", { glyph, kind: "icon quiet", onclick });
      this.remove = tool("close", () => actions.removeSymbol(id));
      this.clear = tool("erase", () => actions.clear(id));
      this.earlier = tool("earlier", () => actions.move(id, -1));
      this.later = tool("later", () => actions.move(id, 1));
      this.picture = tool("picture", () => this.file.click());
      this.another = button(" ", { text: t("another"), kind: "wide",
        onclick: () => actions.keepPad(id) });
      this.canvas = el("canvas", { role: "img", class: "pad" });
      this.ink = el("canvas", { class: "ink", title: t("network_sees"), "aria-hidden": "true" });
      this.awake = el("span", { class: "pad-state", "aria-hidden": "true",
        text: t("tap_to_draw") });
      this.count = el("span", { class: "count" });
      this.examples = el("div", { class: "examples" });
      this.file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true,
        tabindex: "-1", onchange: () => {
          actions.addPictures(id, [...this.file.files]);
          this.file.value = "";
        } });
      this.node = el("section", { class: "card", "data-symbol": id, tabindex: "-1",
        onpaste: (event) => {
          const pictures = [...(event.clipboardData?.files ?? [])];
          if (!pictures.length) return;
          event.preventDefault();
          event.stopPropagation();
          actions.addPictures(id, pictures);
        },
        ondragover: (event) => event.preventDefault(),
        ondrop: (event) => {
          event.preventDefault();
          actions.addPictures(id, [...event.dataTransfer.files]);
        } },
        el("div", { class: "card-head" }, el("span", { class: "dot" }), this.name, this.remove),
        el("div", { class: "pad-frame" }, this.canvas, this.ink, this.awake,
          el("p", { class: "hint", text: t("query_hint") })),
        el("div", { class: "pad-foot" }, this.another, this.clear),
        this.count, this.examples,
        el("div", { class: "card-foot" }, this.earlier, this.picture, this.later, this.file));
      this.node.style.setProperty("--symbol", colourOf(id));
      this.pad = new SketchPads.Pad(this.canvas, {
        onStroke: (points) => actions.stroke(id, points),
        onKeys: actions.penKeys,
        rests: true,
      });
    }

    show(symbol, index, count) {
      const old = this.symbol;
      this.symbol = symbol;
      if (old?.name !== symbol.name) this.showName();
      this.pad.show(symbol.pad);
      this.clear.disabled = this.another.disabled = !symbol.pad.length;
      this.earlier.disabled = index === 0;
      this.later.disabled = index === count - 1;
      const drawings = drawingCount(symbol);
      this.node.classList.toggle("taught", drawings > 0);
      say(this.count, this.context.t(drawings === 1 ? "one_drawing" : "drawings", { drawings }));
      if (old?.examples !== symbol.examples || old.name !== symbol.name) this.showExamples();
      this.showInks();
    }

    showName() {
      const { t } = this.context;
      const { name } = this.symbol;
      if (document.activeElement !== this.name) this.name.value = name;
      set(this.name, "aria-label", t("name_of", { name }));
      set(this.name, "title", name);
      set(this.node, "aria-label", name);
      set(this.canvas, "aria-label", t("pad_for", { name }));
      set(this.file, "aria-label", t("add_picture", { name }));
      label(this.remove, t("remove", { name }));
      label(this.clear, t("clear_one", { name }));
      label(this.another, t("another_of", { name }));
      label(this.earlier, t("move_earlier", { name }));
      label(this.later, t("move_later", { name }));
      label(this.picture, t("add_picture", { name }));
    }

    showExamples() {
      const { t } = this.context;
      const { examples, name } = this.symbol;
      const had = [...this.examples.children].indexOf(document.activeElement);
      this.tiles = examples.map((drawing, index) => {
        const picture = el("canvas", { class: "thumb" });
        const ink = el("canvas", { class: "ink", "data-seen": "no" });
        const node = el("button", { type: "button", class: "tile",
          onclick: () => this.context.preview.show(this.symbol, index) }, picture, ink);
        label(node, t("show_example", { number: index + 1, name }));
        SketchPads.paintThumbnail(picture, drawing, THUMB);
        return { node, ink, drawing, picture };
      });
      this.examples.replaceChildren(...this.tiles.map((tile) => tile.node));
      if (had >= 0) {
        (this.tiles[Math.min(had, this.tiles.length - 1)]?.node ?? this.another).focus();
      }
    }

    /** Show what the network sees of each drawing, as far as it is known. */
    showInks() {
      const { inkOf } = this.context;
      const { pad } = this.symbol;
      const ink = pad.length ? inkOf({ strokes: pad }) : null;
      if (ink || !pad.length) showInk(this.ink, ink); // else the last one, until the new one comes
      for (const tile of this.tiles) {
        const seen = inkOf(tile.drawing);
        if (seen) showInk(tile.ink, seen);
      }
    }

    repaint() {
      this.pad.repaint();
      for (const tile of this.tiles) SketchPads.paintThumbnail(tile.picture, tile.drawing, THUMB);
    }

    forget() {
      this.pad.forget();
      this.node.remove();
    }
  }

  return { Card, THUMB, colourOf, showInk };
})();
