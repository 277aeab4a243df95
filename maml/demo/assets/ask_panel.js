/* The pad of the drawing that is asked about, and the answer to it. */
const SketchAskPanel = (() => {
  "use strict";

  const { el, set, say, label } = Dom;
  const { button } = SketchIcons;
  const { percent } = Words;
  const { LIMITS, drawingCount, isAsked } = SketchDocument;
  const { colourOf, showInk } = SketchCard;
  const FEW = 6; // with more symbols than this, only the likeliest have their bars shown

  /** A bar of the answer; `kind` distinguishes the row of "None of these". */
  class Row {
    constructor(tag, kind, glyph, teach) {
      this.name = el("span", { class: "row-name", dir: "auto" });
      this.fill = el("span", { class: "fill" });
      this.bar = el("span", { class: "bar", role: "meter", "aria-valuemin": "0",
        "aria-valuemax": "100" }, this.fill);
      this.share = el("span", { class: "share" });
      this.teach = button(" ", { glyph, kind: "icon quiet", onclick: () => teach(this.id) });
      this.node = el(tag, { class: "row " + kind }, this.name, this.bar, this.share, this.teach);
    }

    /** share: in [0, 1], or null. */
    showShare(share) {
      this.fill.style.transform = `scaleX(${share ?? 0})`;
      say(this.share, share === null ? "" : percent(share));
    }

    /** share: in [0, 1], or null; teachLabel: the accessible name of the button at its end. */
    show(id, name, share, winner, teachLabel) {
      this.id = id;
      say(this.name, name);
      set(this.name, "title", name);
      if (id !== null) this.node.style.setProperty("--symbol", colourOf(id));
      this.node.classList.toggle("winner", winner);
      this.showShare(share);
      set(this.bar, "aria-label", name);
      set(this.bar, "aria-valuenow", String(Math.round(100 * (share ?? 0))));
      label(this.teach, teachLabel);
    }
  }

  class AskPanel {
    constructor({ t, actions }) {
      this.t = t;
      this.actions = actions;
      this.rows = [];
      this.showAll = false;
      this.canvas = el("canvas", { role: "img", class: "pad", "aria-label": t("query_pad") });
      this.ink = el("canvas", { class: "ink large", role: "img", "data-seen": "no",
        "aria-label": t("network_sees") });
      this.clear = button(t("clear"), { glyph: "erase", text: t("clear"),
        onclick: () => actions.clear(null) });
      this.hint = el("p", { class: "hint", text: t("query_hint") });
      this.pictures = new SketchAskPicture.AskPicture({ t, actions });
      this.winner = el("span", { class: "winner-name", dir: "auto" });
      this.sure = el("span", { class: "winner-share" });
      this.answer = el("div", { id: "answer", class: "answer", "aria-live": "polite",
        "aria-atomic": "true" }, this.winner, " ", this.sure);
      this.list = el("ul", { class: "rows" });
      this.more = button(" ", { text: " ", kind: "quiet wide", onclick: () => {
        this.showAll = !this.showAll;
        this.showAnswer(this.doc, this.shown);
      } });
      this.unknown = new Row("div", "unknown", "plus", () => actions.teach(null));
      this.teachHint = el("p", { class: "hint", text: t("teach_hint") });
      this.shut = button(t("close_ask"), { glyph: "close", kind: "icon quiet shut",
        onclick: () => this.close() });
      this.node = el("section", { class: "panel ask", "aria-label": t("ask") },
        el("div", { class: "ask-grid" },
          el("div", { class: "panel-head" }, el("h2", { text: t("ask") }), this.shut),
          this.answer,
          el("div", { class: "pad-frame" }, this.canvas, this.pictures.shown, this.hint),
          el("div", { class: "ask-tools" },
            el("figure", { class: "seen" }, this.ink,
              el("figcaption", { text: t("network_sees") })),
            this.pictures.node, this.clear),
          el("div", { class: "bars" },
            el("div", { class: "distribution", role: "group", "aria-label": t("shares") },
              this.list, this.unknown.node),
            this.more, this.teachHint)));
      this.pictures.takeFrom(this.node);
      // On a phone the panel rises from the lower edge; its place on the page keeps its room.
      this.slot = el("div", { class: "ask-slot" }, this.node);
      this.pad = new SketchPads.Pad(this.canvas, {
        onStroke: (points) => actions.stroke(null, points),
        onLive: (points) => actions.live(points),
        onKeys: actions.penKeys,
      });
    }

    get isOpen() {
      return this.node.parentNode !== this.slot;
    }

    open(root) {
      this.slot.style.minHeight = this.slot.offsetHeight + "px";
      root.append(this.node);
      root.classList.add("asking");
    }

    close() {
      if (!this.isOpen) return;
      this.node.parentNode.classList.remove("asking");
      this.slot.append(this.node);
      this.slot.style.minHeight = "";
    }

    show(doc) {
      this.doc = doc;
      this.pad.show(doc.query);
      this.pictures.show(doc);
      this.hint.hidden = isAsked(doc);
      this.clear.disabled = !isAsked(doc);
    }

    /** Show an answer; null if there is none yet. */
    showAnswer(doc, answer) {
      this.doc = doc;
      this.shown = answer;
      // An unfinished stroke is asked about too, so the answer knows best what was drawn.
      const asked = answer ? "query_ink" in answer : isAsked(doc);
      // By symbol; null stands for none of these.
      const shares = asked && answer?.shares
        ? new Map([...answer.symbols, null].map((id, i) => [id, answer.shares[i]])) : null;
      this.showWinner(asked, shares, answer);
      showInk(this.ink, asked ? (answer?.query_ink ?? null) : null);
      this.showRows(shares, answer);
      this.teachHint.classList.toggle("unseen", !isAsked(doc));
    }

    /** What keeps the answer away, such as a lost connection; null: nothing any more. */
    trouble(text) {
      this.kept = text;
      this.showAnswer(this.doc, this.shown);
    }

    /** The answer in a few words, or what is missing for one. */
    get told() {
      return [this.winner.textContent, this.sure.textContent].filter(Boolean).join("  ");
    }

    /** Show the bars as they stood after that many steps, `last` being the last one. */
    showStep(position, last) {
      this.list.parentNode.classList.toggle("replaying", !last);
      const path = this.shown?.shares_path;
      if (!path) return;
      const shares = SketchReplay.between((step) => path[step], position, path.length - 1);
      const places = [...this.shown.symbols, null];
      for (const row of [...this.rows, this.unknown]) {
        const place = places.indexOf(row.id);
        if (place >= 0) row.showShare(shares[place]);
      }
    }

    showWinner(asked, shares, answer) {
      const { t, doc } = this;
      this.answer.classList.toggle("bad", Boolean(this.kept));
      if (this.kept) {
        this.answer.classList.add("quiet");
        say(this.winner, this.kept);
        say(this.sure, "");
        return;
      }
      this.answer.classList.toggle("quiet", !shares);
      if (shares && answer.leader === null) {
        this.answer.classList.add("quiet");
        say(this.winner, t("no_steps", { share: percent(answer.shares[0]) }));
        say(this.sure, "");
        return;
      }
      if (shares) {
        const { winner } = answer;
        const name = doc.symbols.find((symbol) => symbol.id === winner)?.name ?? t("none");
        say(this.winner, name);
        set(this.winner, "title", name);
        say(this.sure, percent(shares.get(winner)));
        this.answer.style.setProperty("--symbol",
          winner === null ? "var(--faint)" : colourOf(winner));
        return;
      }
      const taught = doc.symbols.filter((symbol) => drawingCount(symbol) > 0);
      const missing = ["missing_two", "missing_one"][taught.length] ?? "missing_query";
      say(this.winner, t(missing, { name: taught[0]?.name ?? "" }));
      say(this.sure, "");
    }

    showRows(shares, answer) {
      const { t, doc } = this;
      const { symbols } = doc;
      let listed = symbols;
      if (symbols.length > FEW && !this.showAll) {
        const share = (symbol) => shares?.get(symbol.id) ?? 0;
        listed = [...symbols].sort((a, b) => share(b) - share(a)).slice(0, FEW);
      }
      while (this.rows.length < listed.length) {
        this.rows.push(new Row("li", "", "check", (id) => this.actions.teach(id)));
      }
      listed.forEach(({ id, name }, i) => {
        const row = this.rows[i];
        row.show(id, name, shares?.get(id) ?? null, Boolean(shares) && answer.winner === id,
          t("this_is", { name }));
        row.teach.disabled = !isAsked(doc);
        if (this.list.children[i] !== row.node) this.list.append(row.node);
      });
      while (this.list.children.length > listed.length) this.list.lastChild.remove();
      this.more.hidden = symbols.length <= FEW;
      say(this.more.querySelector("span"),
        this.showAll ? t("show_fewer") : t("show_all", { count: symbols.length }));
      set(this.more, "aria-label", this.more.textContent);
      set(this.more, "aria-expanded", String(this.showAll));

      this.unknown.show(null, t("none"), shares?.get(null) ?? null,
        Boolean(shares) && answer.winner === null && answer.leader !== null,
        t("new_symbol_of_it"));
      this.unknown.teach.disabled = !isAsked(doc) || symbols.length >= LIMITS.symbols;
    }

    repaint() {
      this.pad.repaint();
    }

    forget() {
      this.pad.forget();
    }
  }

  return { AskPanel };
})();
