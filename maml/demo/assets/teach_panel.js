/* The cards of all symbols. */
const SketchTeachPanel = (() => {
  "use strict";

  const { el } = Dom;
  const { LIMITS } = SketchDocument;

  class TeachPanel {
    constructor(context) {
      const { t, actions } = context;
      this.context = context;
      this.cards = new Map();
      this.pointed = null; // the symbol whose card was last under the pointer
      this.grid = el("div", { class: "cards" });
      this.add = SketchIcons.button(t("add_symbol"), { glyph: "plus", text: t("add_symbol"),
        kind: "add", onclick: actions.addSymbol });
      this.grid.append(this.add);
      this.node = el("section", { class: "panel teach", "aria-label": t("teach") },
        el("h2", { text: t("teach") }), el("p", { class: "note lead", text: t("teach_note") }),
        this.grid);
    }

    show({ symbols }) {
      const wanted = new Set(symbols.map((symbol) => symbol.id));
      for (const [id, card] of this.cards) {
        if (wanted.has(id)) continue;
        if (card.node.contains(document.activeElement)) this.add.focus({ preventScroll: true });
        card.forget();
        this.cards.delete(id);
      }
      symbols.forEach((symbol, index) => {
        const card = this.cards.get(symbol.id) ?? this.newCard(symbol.id);
        const there = this.grid.children[index];
        if (there !== card.node) {
          const focused = card.node.contains(document.activeElement) && document.activeElement;
          this.grid.insertBefore(card.node, there);
          if (focused) focused.focus();
        }
        card.show(symbol, index, symbols.length);
      });
      this.add.hidden = symbols.length >= LIMITS.symbols;
    }

    newCard(id) {
      const card = new SketchCard.Card(id, this.context);
      for (const event of ["pointerenter", "pointerdown"]) {
        card.node.addEventListener(event, () => (this.pointed = id));
      }
      this.cards.set(id, card);
      return card;
    }

    showInks() {
      for (const card of this.cards.values()) card.showInks();
    }

    repaint() {
      for (const card of this.cards.values()) card.repaint();
    }

    forget() {
      for (const card of this.cards.values()) card.forget();
    }
  }

  return { TeachPanel };
})();
