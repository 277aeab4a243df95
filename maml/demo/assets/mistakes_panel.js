/* Which symbols are confused, and by which drawings. */
const SketchMistakesPanel = (() => {
  "use strict";

  const { el } = Dom;
  const { THUMB } = SketchCard;
  const { drawingCount, drawingsOf } = SketchDocument;
  const LITTLE_TO_GAIN = 0.95; // where drawings are recognised with more than this

  function thumbnail(drawing, attributes) {
    const canvas = el("canvas", attributes);
    SketchPads.paintThumbnail(canvas, drawing, THUMB);
    return canvas;
  }

  class MistakesPanel {
    constructor({ t, actions }) {
      this.t = t;
      this.check = SketchIcons.button(t("check"), { glyph: "lens", text: t("check"),
        onclick: actions.check });
      this.out = el("div", { class: "check-out", "aria-live": "polite" });
      this.node = el("section", { class: "panel mistakes", "aria-label": t("mistakes") },
        el("h2", { text: t("mistakes") }), el("p", { class: "note", text: t("mistakes_note") }),
        this.check, this.out);
    }

    show(doc) {
      this.check.disabled = doc.symbols.filter((s) => drawingCount(s) >= 2).length < 2;
    }

    /** Show how far the check is, or what it found; null for nothing.
     *
     * check: what `maml.sessions.mixups.find_mixups` yields; doc: the document that was checked.
     */
    showCheck(check, doc) {
      const { t } = this;
      this.out.replaceChildren();
      if (!check) return;
      if (!("right" in check)) {
        this.out.append(
          el("progress", { value: check.done, max: check.total, "aria-label": t("checking") }),
          el("p", { class: "note",
            text: t("checking_far", { done: check.done, total: check.total }) }));
        return;
      }
      this.symbols = new Map(doc.symbols.map((symbol) => [symbol.id, symbol]));
      this.out.append(el("p", { class: "verdict",
        text: t("check_verdict", { right: check.right, total: check.total }) }));
      if (check.none) {
        this.out.append(el("p", { class: "note", text: t("check_none", { count: check.none }) }));
      }
      for (const pair of check.pairs) this.out.append(...this.pair(pair, check.mistakes));
      if (check.wanting) this.out.append(this.wanting(check.wanting));
      if (check.oddest) this.out.append(this.odd(check.oddest));
    }

    /** Which symbol would gain most from another drawing. */
    wanting({ symbol, drawings, fewest, share }) {
      const key = drawings === 1 ? "wanting_one" : fewest ? "wanting_fewest"
        : share > LITTLE_TO_GAIN ? "wanting_little" : "wanting";
      return el("p", { class: "wanting", dir: "auto", text: this.t(key,
        { name: this.symbols.get(symbol).name, drawings, share: Words.percent(share) }) });
    }

    /** A confused pair, and below it, once it is opened, the drawings of both. */
    pair({ a, b, count }, mistakes) {
      const drawings = el("div", { class: "pair-drawings", hidden: true },
        ...[a, b].map((id) => this.strip(id, mistakes)));
      const toggle = el("button", { type: "button", class: "button wide pair",
        "aria-expanded": "false", onclick: () => {
          drawings.hidden = !drawings.hidden;
          toggle.setAttribute("aria-expanded", String(!drawings.hidden));
        },
        text: this.t("pair",
          { a: this.symbols.get(a).name, b: this.symbols.get(b).name, count }) });
      return [toggle, drawings];
    }

    strip(id, mistakes) {
      const symbol = this.symbols.get(id);
      const wrong = new Set(mistakes.filter((one) => one.symbol === id).map((one) => one.drawing));
      return el("div", {}, el("span", { class: "row-name", dir: "auto", text: symbol.name }),
        el("span", { class: "strip" }, ...drawingsOf(symbol).map((drawing, index) =>
          thumbnail(drawing, { class: wrong.has(index) ? "thumb marked" : "thumb", role: "img",
            "aria-label": this.t("example_of", { number: index + 1, name: symbol.name }) }))));
    }

    odd({ symbol: id, drawing, share }) {
      const symbol = this.symbols.get(id);
      return el("p", { class: "odd" },
        thumbnail(drawingsOf(symbol)[drawing], { class: "thumb marked" }),
        el("span", { dir: "auto", text: this.t("oddest", { name: symbol.name, number: drawing + 1,
          share: Words.percent(share) }) }));
    }
  }

  return { MistakesPanel };
})();
