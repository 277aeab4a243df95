/* The view: builds the page's elements once and brings them in line with a document and an answer.
 *
 * Nothing that a stroke or an answer changes may change the height of anything above or beside a
 * pad: what is not to be seen yet keeps its room, or the next stroke would miss its pad.
 *
 * Everything that a person typed goes through textContent, value or setAttribute, never through
 * HTML.  `actions` are the verbs of the entry file; `t(key, values)` gives a text in the language.
 */
const SketchView = (() => {
  "use strict";

  const { LIMITS, drawingCount, taughtCount } = SketchDocument;
  const HUES = [212, 28, 150, 330, 48, 265, 190, 0, 95, 300];
  const CHARTS = { curve_loss: [190, 124], curve_accuracy: [190, 124], curve_path: [386, 176] };
  const FEW = 6; // with more symbols than this, only the likeliest have their bars shown

  const ICONS = {
    plus: "M12 5v14M5 12h14",
    close: "M6 6l12 12M18 6L6 18",
    undo: "M9 5L4 10l5 5M4 10h10a5 5 0 0 1 0 10h-4",
    redo: "M15 5l5 5-5 5M20 10H10a5 5 0 0 0 0 10h4",
    erase: "M4 16l9-10 7 6-8 8H8zM10 20h10",
    earlier: "M14 6l-6 6 6 6",
    later: "M10 6l6 6-6 6",
    picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01",
    check: "M5 13l4 4L19 7",
    save: "M12 4v11M7 10l5 5 5-5M5 20h14",
    open: "M12 16V5M7 10l5-5 5 5M5 20h14",
    spark: "M12 3l2.2 6.8L21 12l-6.8 2.2L12 21l-2.2-6.8L3 12l6.8-2.2z",
    lens: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L21 21",
    network: "M5 7h.01M5 17h.01M12 12h.01M19 7h.01M19 17h.01M5 7l7 5 7-5M5 17l7-5 7 5",
  };

  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "text") node.textContent = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function icon(name) {
    const svg = makeSvg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
    makeSvg("path", { d: ICONS[name] }, svg);
    return svg;
  }

  /** A button with an icon, a text or both; `label` is its accessible name. */
  function button(label, { glyph, text, kind = "", onclick }) {
    const attributes = { type: "button", class: "button " + kind, onclick };
    if (!text) attributes.title = label;
    attributes["aria-label"] = label;
    return el("button", attributes, glyph ? icon(glyph) : null,
      text ? el("span", { text, dir: "auto" }) : null);
  }

  const set = (node, key, value) => {
    if (node.getAttribute(key) !== value) node.setAttribute(key, value);
  };
  const say = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const colourOf = (id, alpha = 1) =>
    `hsl(${HUES[(id - 1) % HUES.length]} var(--hue-strength) ` +
    `calc(var(--hue-light) + ${Math.floor((id - 1) / HUES.length) * 10}%) / ${alpha})`;

  /** No answer is ever certain: what rounds to 100 or 0 is given as ">99" or "<1". */
  function percent(share) {
    if (share > 0.995) return ">99 %";
    if (share < 0.005) return "<1 %";
    return Math.round(100 * share) + " %";
  }

  // ---- a symbol's card ---------------------------------------------------------------------

  class Card {
    constructor(id, view) {
      const { t, actions } = view;
      this.id = id;
      this.view = view;
      this.tiles = [];
      this.name = el("input", {
        type: "text", class: "name", dir: "auto", maxlength: LIMITS.name, autocomplete: "off",
        spellcheck: "false", enterkeyhint: "done",
        onchange: () => actions.rename(id, this.name.value),
        onkeydown: (event) => {
          if (event.key === "Enter") this.name.blur();
          if (event.key === "Escape") {
            this.name.value = this.symbol.name;
            this.name.blur();
          }
        },
      });
      this.remove = button(" ", { glyph: "close", kind: "icon quiet",
        onclick: () => actions.removeSymbol(id) });
      this.canvas = el("canvas", { role: "img", class: "pad" });
      this.ink = el("canvas", { class: "ink", title: t("network_sees"), "aria-hidden": "true" });
      this.clear = button(" ", { glyph: "erase", kind: "icon quiet",
        onclick: () => actions.clear(id) });
      this.examples = el("div", { class: "examples" });
      this.another = button(" ", { text: t("another"), kind: "wide",
        onclick: () => actions.keepPad(id) });
      this.earlier = button(" ", { glyph: "earlier", kind: "icon quiet",
        onclick: () => actions.move(id, -1) });
      this.later = button(" ", { glyph: "later", kind: "icon quiet",
        onclick: () => actions.move(id, 1) });
      this.file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true,
        tabindex: "-1", onchange: () => {
          actions.addPictures(id, [...this.file.files]);
          this.file.value = "";
        } });
      this.picture = button(" ", { glyph: "picture", kind: "icon quiet",
        onclick: () => this.file.click() });
      this.node = el("section", { class: "card", "data-symbol": id, tabindex: "-1",
        onpaste: (event) => {
          const pictures = [...(event.clipboardData?.files ?? [])];
          if (pictures.length) {
            event.preventDefault();
            event.stopPropagation();
            actions.addPictures(id, pictures);
          }
        },
        ondragover: (event) => event.preventDefault(),
        ondrop: (event) => {
          event.preventDefault();
          actions.addPictures(id, [...event.dataTransfer.files]);
        } },
        el("div", { class: "card-head" }, el("span", { class: "dot" }), this.name, this.remove),
        el("div", { class: "pad-frame" }, this.canvas, this.ink),
        el("div", { class: "pad-foot" }, this.another, this.clear),
        this.examples,
        el("div", { class: "card-foot" }, this.earlier, this.picture, this.later, this.file));
      this.node.addEventListener("pointerenter", () => (view.pasteTarget = id));
      this.node.addEventListener("pointerdown", () => (view.pasteTarget = id));
      this.node.style.setProperty("--symbol", colourOf(id));
      this.pad = new SketchPads.Pad(this.canvas, {
        onStroke: (points) => actions.stroke(id, points),
      });
    }

    show(symbol, index, count) {
      const { t } = this.view;
      const name = symbol.name;
      if (!this.symbol || this.symbol.name !== name) {
        if (document.activeElement !== this.name) this.name.value = name;
        set(this.name, "aria-label", t("name_of", { name }));
        set(this.name, "title", name);
        set(this.node, "aria-label", name);
        set(this.canvas, "aria-label", t("pad_for", { name }));
        for (const [node, key] of [[this.remove, "remove"], [this.clear, "clear_one"],
          [this.another, "another_of"], [this.earlier, "move_earlier"], [this.later, "move_later"],
          [this.picture, "add_picture"]]) {
          set(node, "aria-label", t(key, { name }));
          set(node, "title", t(key, { name }));
        }
        set(this.file, "aria-label", t("add_picture", { name }));
      }
      this.pad.show(symbol.pad);
      this.showInk(symbol);
      const empty = !symbol.pad.length;
      this.clear.disabled = empty;
      this.another.disabled = empty;
      this.earlier.disabled = index === 0;
      this.later.disabled = index === count - 1;
      this.node.classList.toggle("taught", drawingCount(symbol) > 0);
      if (!this.symbol || this.symbol.examples !== symbol.examples || this.symbol.name !== name) {
        this.showExamples(symbol);
      }
      this.symbol = symbol;
    }

    showExamples(symbol) {
      const { t, actions } = this.view;
      const had = this.examples.contains(document.activeElement)
        ? [...this.examples.children].indexOf(document.activeElement) : -1;
      this.tiles = symbol.examples.map((drawing, index) => {
        const picture = el("canvas", { class: "thumb" });
        const ink = el("canvas", { class: "thumb ink" });
        const label = t("remove_example", { number: index + 1, name: symbol.name });
        const node = el("button", { type: "button", class: "tile", "aria-label": label,
          title: label, onclick: () => actions.removeExample(this.id, index) },
          picture, ink, el("span", { class: "cross", "aria-hidden": "true" }, icon("close")));
        SketchPads.paintThumbnail(picture, drawing, 44);
        return { node, ink, drawing, picture };
      });
      this.examples.replaceChildren(...this.tiles.map((tile) => tile.node));
      if (had >= 0) {
        (this.tiles[Math.min(had, this.tiles.length - 1)]?.node ?? this.another).focus();
      }
      for (const tile of this.tiles) SketchPads.paintInk(tile.ink, this.view.inkOf(tile.drawing));
    }

    showInk(symbol) {
      const ink = symbol.pad.length ? this.view.inkOf({ strokes: symbol.pad }) : null;
      if (symbol.pad.length && !ink) return; // keep the last one until the new one comes
      if (this.shownInk !== ink) SketchPads.paintInk(this.ink, ink);
      this.shownInk = ink;
    }

    repaint() {
      this.pad.repaint();
      for (const tile of this.tiles) SketchPads.paintThumbnail(tile.picture, tile.drawing, 44);
    }
  }

  // ---- one symbol's row of the answer --------------------------------------------------------

  class Row {
    constructor(view) {
      this.label = el("span", { class: "row-name" });
      this.fill = el("span", { class: "fill" });
      this.bar = el("span", { class: "bar", role: "meter", "aria-valuemin": "0",
        "aria-valuemax": "100" }, this.fill);
      this.share = el("span", { class: "share" });
      this.teach = button(" ", { glyph: "check", kind: "icon quiet",
        onclick: () => view.actions.teach(this.id) });
      this.node = el("li", { class: "row" }, this.label, this.bar, this.share, this.teach);
      this.view = view;
    }

    show(symbol, share, winner, asked) {
      const { t } = this.view;
      this.id = symbol.id;
      say(this.label, symbol.name);
      set(this.label, "title", symbol.name);
      set(this.label, "dir", "auto");
      this.node.style.setProperty("--symbol", colourOf(symbol.id));
      this.node.classList.toggle("winner", winner);
      this.fill.style.transform = `scaleX(${share ?? 0})`;
      set(this.bar, "aria-label", symbol.name);
      set(this.bar, "aria-valuenow", String(Math.round(100 * (share ?? 0))));
      say(this.share, share === null ? "" : percent(share));
      const label = t("this_is", { name: symbol.name });
      set(this.teach, "aria-label", label);
      set(this.teach, "title", label);
      this.teach.disabled = !asked;
    }
  }

  // ---- the whole page ------------------------------------------------------------------------

  class View {
    constructor(root, { t, actions, inkOf, sets, language }) {
      Object.assign(this, { root, t, actions, inkOf });
      this.cards = new Map();
      this.rows = [];
      this.showAll = false;
      this.pasteTarget = null;
      this.build(sets, language);
      this.abort = new AbortController();
      const signal = this.abort.signal;
      document.addEventListener("keydown", (event) => this.key(event), { signal });
      document.addEventListener("paste", (event) => this.paste(event), { signal });
      this.tall = new ResizeObserver(() =>
        this.right.style.setProperty("--height", this.right.offsetHeight + "px"));
      this.tall.observe(this.right);
      this.themes = new MutationObserver(() => this.repaint());
      this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    }

    forget() {
      this.abort.abort();
      this.themes.disconnect();
      this.tall.disconnect();
      this.query.forget();
      for (const card of this.cards.values()) card.pad.forget();
      this.root.replaceChildren();
    }

    build(sets, language) {
      const { t, actions } = this;
      const chooser = el("select", { class: "select", "aria-label": t("example_set") },
        ...sets.map((one) => el("option", { value: one.key, text: t("set_" + one.key) })));
      this.undo = button(t("undo"), { glyph: "undo", text: t("undo"), kind: "foldable",
        onclick: actions.undo });
      this.redo = button(t("redo"), { glyph: "redo", text: t("redo"), kind: "foldable",
        onclick: actions.redo });
      this.clearAll = button(t("clear_all"), { glyph: "erase", text: t("clear_all"),
        onclick: actions.clearAll });
      const tongue = button(t("other_language_name"), { text: t("other_language"),
        kind: "quiet", onclick: actions.switchLanguage });
      tongue.lang = t("other_language_code");
      const tools = el("div", { class: "tools", role: "toolbar", "aria-label": t("tools") },
        el("span", { class: "group" }, chooser,
          button(t("load_example"), { glyph: "spark", text: t("load_example"), kind: "primary",
            onclick: () => actions.loadSet(chooser.value) })),
        el("span", { class: "group history" }, this.undo, this.redo, this.clearAll),
        el("span", { class: "push" }), tongue);

      // Ask
      this.queryCanvas = el("canvas", { role: "img", class: "pad", "aria-label": t("query_pad") });
      this.queryInk = el("canvas", { class: "ink large", role: "img",
        "aria-label": t("network_sees") });
      this.queryClear = button(t("clear"), { glyph: "erase", text: t("clear"),
        onclick: () => actions.clear(null) });
      this.hint = el("p", { class: "hint", text: t("query_hint") });
      this.winner = el("span", { class: "winner-name", dir: "auto" });
      this.sure = el("span", { class: "winner-share" });
      this.answer = el("div", { id: "answer", class: "answer", "aria-live": "polite",
        "aria-atomic": "true" }, this.winner, " ", this.sure);
      this.list = el("ul", { class: "rows", "aria-label": t("probabilities") });
      this.unknownFill = el("span", { class: "fill" });
      this.unknownMark = el("span", { class: "mark", "aria-hidden": "true" });
      this.unknownBar = el("span", { class: "bar", role: "meter", "aria-valuemin": "0",
        "aria-valuemax": "100", "aria-label": t("none") }, this.unknownFill, this.unknownMark);
      this.unknownShare = el("span", { class: "share" });
      this.something = button(t("new_symbol_of_it"), { glyph: "plus", kind: "icon quiet",
        onclick: () => actions.teach(null) });
      this.unknown = el("div", { class: "row unknown" },
        el("span", { class: "row-name", text: t("none") }), this.unknownBar, this.unknownShare,
        this.something);
      this.more = button(" ", { text: " ", kind: "quiet wide", onclick: () => {
        this.showAll = !this.showAll;
        this.showAnswer();
      } });
      this.teachHint = el("p", { class: "hint", text: t("teach_hint") });
      const ask = el("section", { class: "panel ask", "aria-label": t("ask") },
        el("h2", { text: t("ask") }),
        el("div", { class: "ask-grid" },
          el("div", { class: "pad-frame" }, this.queryCanvas, this.hint),
          el("div", { class: "ask-side" }, this.answer,
            el("figure", { class: "seen" }, this.queryInk,
              el("figcaption", { text: t("network_sees") })),
            this.queryClear)),
        this.list, this.more, this.unknown, this.teachHint);

      // Adaptation
      this.steps = el("input", { type: "range", min: "0", max: String(LIMITS.steps), step: "1",
        "aria-label": t("steps"), oninput: () => actions.steps(Number(this.steps.value), true),
        onchange: () => actions.steps(Number(this.steps.value), false) });
      this.stepsOut = el("output", { class: "steps-out" });
      const chart = (name) => {
        const svg = makeSvg("svg", { class: "chart", viewBox: "0 0 " + CHARTS[name].join(" ") });
        return [svg, el("figure", { class: "curve " + name },
          el("figcaption", { text: t(name) }), svg)];
      };
      const [loss, lossFigure] = chart("curve_loss");
      const [accuracy, accuracyFigure] = chart("curve_accuracy");
      const [path, pathFigure] = chart("curve_path");
      Object.assign(this, { loss, accuracy, path });
      this.timing = el("p", { class: "note timing" });
      const adapt = el("section", { class: "panel adapt", "aria-label": t("adaptation") },
        el("h2", { text: t("adaptation") }),
        el("label", { class: "slider" }, el("span", { text: t("steps") }), this.steps,
          this.stepsOut),
        this.timing, el("div", { class: "curves" }, lossFigure, accuracyFigure, pathFigure));

      // Teach
      this.grid = el("div", { class: "cards" });
      this.add = button(t("add_symbol"), { glyph: "plus", text: t("add_symbol"), kind: "add",
        onclick: actions.addSymbol });
      this.grid.append(this.add);
      const teach = el("section", { class: "panel teach", "aria-label": t("teach") },
        el("h2", { text: t("teach") }), el("p", { class: "note lead", text: t("teach_note") }),
        this.grid);

      // Mistakes
      this.check = button(t("check"), { glyph: "lens", text: t("check"), onclick: actions.check });
      this.checkOut = el("div", { class: "check-out", "aria-live": "polite" });
      const mistakes = el("section", { class: "panel mistakes", "aria-label": t("mistakes") },
        el("h2", { text: t("mistakes") }), el("p", { class: "note", text: t("mistakes_note") }),
        this.check, this.checkOut);

      // Keep and share
      const file = el("input", { type: "file", accept: ".json,application/json", hidden: true,
        tabindex: "-1", "aria-label": t("open_set"), onchange: () => {
          if (file.files[0]) actions.open(file.files[0]);
          file.value = "";
        } });
      this.save = button(t("save_set"), { glyph: "save", text: t("save_set"),
        onclick: actions.save });
      this.exporting = button(t("download_network"), { glyph: "network",
        text: t("download_network"), onclick: actions.exportNetwork });
      const keep = el("section", { class: "panel keep", "aria-label": t("keep") },
        el("h2", { text: t("keep") }),
        el("div", { class: "group" }, this.save,
          button(t("open_set"), { glyph: "open", text: t("open_set"),
            onclick: () => file.click() }), this.exporting, file),
        el("p", { class: "note", text: t("privacy") }),
        el("p", { class: "note", text: t("keep_note") }));

      this.status = el("p", { class: "status", role: "status" });
      this.root.lang = language;
      this.right = el("div", { class: "column right" }, ask, adapt);
      const head = el("header", { class: "head" }, el("h1", { text: t("title") }),
        el("p", { text: t("tagline") }));
      this.root.replaceChildren(
        head, tools,
        el("div", { class: "layout" },
          el("div", { class: "column left" }, teach, mistakes, keep),
          this.right),
        this.status);
      this.query = new SketchPads.Pad(this.queryCanvas, {
        onStroke: (points) => actions.stroke(null, points),
        onLive: (points) => actions.live(points),
      });
    }

    /** Bring the page in line with the document. */
    show(doc, { canUndo, canRedo }) {
      this.doc = doc;
      const count = doc.symbols.length;
      const wanted = new Set(doc.symbols.map((symbol) => symbol.id));
      for (const [id, card] of this.cards) {
        if (wanted.has(id)) continue;
        if (card.node.contains(document.activeElement)) this.add.focus({ preventScroll: true });
        card.pad.forget();
        card.node.remove();
        this.cards.delete(id);
      }
      doc.symbols.forEach((symbol, index) => {
        let card = this.cards.get(symbol.id);
        if (!card) {
          card = new Card(symbol.id, this);
          this.cards.set(symbol.id, card);
        }
        if (this.grid.children[index] !== card.node) {
          const focused = card.node.contains(document.activeElement) && document.activeElement;
          this.grid.insertBefore(card.node, this.grid.children[index]);
          if (focused) focused.focus();
        }
        card.show(symbol, index, count);
      });
      this.add.hidden = count >= LIMITS.symbols;
      this.undo.disabled = !canUndo;
      this.redo.disabled = !canRedo;
      this.clearAll.disabled = !count && !doc.query.length;
      this.query.show(doc.query);
      this.hint.hidden = doc.query.length > 0;
      this.queryClear.disabled = !doc.query.length;
      const taught = taughtCount(doc);
      this.exporting.disabled = taught < 2;
      this.check.disabled = doc.symbols.filter((s) => drawingCount(s) >= 2).length < 2;
      if (doc.steps !== null && document.activeElement !== this.steps) {
        this.steps.value = String(doc.steps);
        say(this.stepsOut, String(doc.steps));
      }
    }

    /** Bring the answer's part of the page in line with an answer (null: none yet). */
    showAnswer(answer = this.shown) {
      this.shown = answer;
      const { t, doc } = this;
      const { symbols } = doc;
      const taught = symbols.filter((symbol) => drawingCount(symbol) > 0);
      const shares = answer?.probabilities ?? null;
      const winner = answer?.winner ?? null;
      const drawn = doc.query.length > 0;
      const asked = answer ? answer.asked : drawn; // an unfinished stroke is asked about too
      this.answer.classList.toggle("quiet", !shares);
      if (shares && asked) {
        const name = winner === null ? t("none") : answer.names[winner];
        say(this.winner, name);
        set(this.winner, "title", name);
        say(this.sure, percent(winner === null ? answer.unknown : shares[winner]));
        this.answer.style.setProperty("--symbol",
          winner === null ? "var(--faint)" : colourOf(answer.ids[winner]));
      } else {
        const missing = ["missing_two", "missing_one"][taught.length] ?? "missing_query";
        say(this.winner, t(missing, { name: taught[0]?.name ?? "" }));
        say(this.sure, "");
      }
      SketchPads.paintInk(this.queryInk, asked ? (answer?.queryInk ?? null) : null);

      const byId = new Map((answer?.ids ?? []).map((id, i) => [id, shares ? shares[i] : null]));
      let listed = symbols;
      if (symbols.length > FEW && !this.showAll) {
        listed = [...symbols].sort((a, b) => (byId.get(b.id) ?? 0) - (byId.get(a.id) ?? 0));
        listed = listed.slice(0, FEW);
      }
      while (this.rows.length < listed.length) {
        this.rows.push(new Row(this));
      }
      listed.forEach((symbol, i) => {
        this.rows[i].show(symbol, asked ? (byId.get(symbol.id) ?? null) : null,
          asked && winner !== null && answer?.ids[winner] === symbol.id, drawn);
        if (this.list.children[i] !== this.rows[i].node) this.list.append(this.rows[i].node);
      });
      while (this.list.children.length > listed.length) this.list.lastChild.remove();
      this.more.hidden = symbols.length <= FEW;
      say(this.more.querySelector("span"),
        this.showAll ? t("show_fewer") : t("show_all", { count: symbols.length }));
      set(this.more, "aria-label", this.more.textContent);
      set(this.more, "aria-expanded", String(this.showAll));

      const unknown = asked && shares ? answer.unknown : null;
      this.teachHint.classList.toggle("unseen", !drawn);
      this.unknown.classList.toggle("winner", asked && !!shares && winner === null);
      this.unknownFill.style.transform = `scaleX(${unknown ?? 0})`;
      set(this.unknownBar, "aria-valuenow", String(Math.round(100 * (unknown ?? 0))));
      say(this.unknownShare, unknown === null ? "" : percent(unknown));
      this.unknownMark.style.left = `${100 * (answer?.threshold ?? 1)}%`;
      this.unknownMark.hidden = !answer || answer.threshold === undefined;
      this.something.disabled = !drawn || doc.symbols.length >= LIMITS.symbols;

      for (const card of this.cards.values()) {
        const symbol = doc.symbols.find((one) => one.id === card.id);
        if (symbol) card.showInk(symbol);
        for (const tile of card.tiles) {
          if (tile.ink.dataset.seen !== "yes") {
            SketchPads.paintInk(tile.ink, this.inkOf(tile.drawing));
          }
        }
      }
      // The answer is painted first; the curves follow.
      cancelAnimationFrame(this.curvesSoon);
      this.curvesSoon = requestAnimationFrame(() => setTimeout(() => {
        if (this.shown === answer) this.showCurves(answer, asked);
      }));
    }

    showCurves(answer, asked) {
      const { t } = this;
      const curve = answer?.trajectory?.length ? answer.trajectory : null;
      const path = asked && curve ? answer.path : null;
      if (!curve) {
        this.drawnCurve = null;
        SketchCurves.clear(this.loss);
        SketchCurves.clear(this.accuracy);
      }
      if (!path) SketchCurves.clear(this.path);
      say(this.timing, curve ? t("timing", { adapted: Math.round(answer.adapted_ms),
        answered: Math.round(answer.answered_ms) }) : t("curves_empty"));
      if (!curve) return;
      const ends = { first: curve[0], last: curve[curve.length - 1] };
      const two = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1));
      if (this.drawnCurve !== answer.trajectory) {
        this.drawnCurve = answer.trajectory;
        SketchCurves.draw(this.loss, [{ values: curve.map((one) => one.loss), strong: true,
          colour: "var(--accent)" }], { size: CHARTS.curve_loss, format: two,
          description: t("loss_described", { from: two(ends.first.loss), to: two(ends.last.loss),
            steps: curve.length - 1 }) });
        SketchCurves.draw(this.accuracy, [{ values: curve.map((one) => one.accuracy), strong: true,
          colour: "var(--good)" }], { size: CHARTS.curve_accuracy, top: 1,
          format: (value) => Math.round(100 * value) + "%",
          description: t("accuracy_described", { from: Math.round(100 * ends.first.accuracy),
            to: Math.round(100 * ends.last.accuracy), steps: curve.length - 1 }) });
      }
      if (path) {
        const lines = answer.ids.map((id, i) => ({ values: path.map((row) => row[i]),
          colour: colourOf(id), strong: i === answer.leader }));
        SketchCurves.draw(this.path, lines, { size: CHARTS.curve_path, top: 1,
          format: (value) => Math.round(100 * value) + "%",
          description: t("path_described", { name: answer.names[answer.leader],
            from: Math.round(100 * path[0][answer.leader]),
            to: Math.round(100 * path[path.length - 1][answer.leader]),
            steps: path.length - 1 }) });
      }
    }

    /** Show what the leave-one-out check found, or how far it is. */
    showCheck(check) {
      const { t } = this;
      this.checkOut.replaceChildren();
      if (!check) return;
      if (check.done < check.total) {
        this.checkOut.append(el("progress", { value: check.done, max: check.total,
          "aria-label": t("checking") }), el("p", { class: "note",
          text: t("checking_far", { done: check.done, total: check.total }) }));
        return;
      }
      const { doc } = check;
      const nameOf = (id) => doc.symbols.find((symbol) => symbol.id === id)?.name ?? "?";
      const drawingsOf = (id) => {
        const symbol = doc.symbols.find((one) => one.id === id);
        if (!symbol) return [];
        return [...symbol.examples, ...(symbol.pad.length ? [{ strokes: symbol.pad }] : [])];
      };
      const strip = (id, marked) => el("span", { class: "strip" },
        ...drawingsOf(id).map((drawing, index) => {
          const thumb = el("canvas", { class: marked.includes(index) ? "thumb marked" : "thumb",
            role: "img", "aria-label": t("example_of", { number: index + 1, name: nameOf(id) }) });
          SketchPads.paintThumbnail(thumb, drawing, 44);
          return thumb;
        }));
      this.checkOut.append(el("p", { class: "verdict",
        text: t("check_verdict", { right: check.right, total: check.total }) }));
      for (const pair of check.pairs) {
        const shown = el("div", { class: "pair-drawings", hidden: true },
          ...[pair.a, pair.b].map((id) => el("div", {},
            el("span", { class: "row-name", dir: "auto", text: nameOf(id) }),
            strip(id, check.mistakes.filter((m) => m.symbol === id).map((m) => m.drawing)))));
        const label = t("pair", { a: nameOf(pair.a), b: nameOf(pair.b), count: pair.count });
        const toggle = el("button", { type: "button", class: "button wide pair", text: label,
          "aria-expanded": "false", onclick: () => {
            shown.hidden = !shown.hidden;
            toggle.setAttribute("aria-expanded", String(!shown.hidden));
          } });
        this.checkOut.append(toggle, shown);
      }
      if (check.oddest) {
        const { symbol, drawing, probability } = check.oddest;
        const one = drawingsOf(symbol)[drawing];
        const thumb = el("canvas", { class: "thumb marked" });
        if (one) SketchPads.paintThumbnail(thumb, one, 44);
        this.checkOut.append(el("p", { class: "odd" }, thumb, el("span", { dir: "auto",
          text: t("oddest", { name: nameOf(symbol), number: drawing + 1,
            share: percent(probability) }) })));
      }
    }

    message(text, kind = "") {
      say(this.status, text);
      this.status.className = "status " + kind;
    }

    repaint() {
      this.query.repaint();
      for (const card of this.cards.values()) card.repaint();
    }

    key(event) {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || !this.root.isConnected) return;
      if (!this.root.offsetParent) return; // another tab is open
      if (event.target instanceof Element && event.target.closest("input[type=text], textarea")) {
        return;
      }
      const key = event.key.toLowerCase();
      if (key === "z" || key === "y") {
        event.preventDefault();
        if (key === "y" || event.shiftKey) this.actions.redo();
        else this.actions.undo();
      }
    }

    paste(event) {
      if (!this.root.offsetParent) return;
      const pictures = [...(event.clipboardData?.files ?? [])];
      const target = this.cards.has(this.pasteTarget) ? this.pasteTarget : this.doc.symbols[0]?.id;
      if (!pictures.length || target === undefined) return;
      event.preventDefault();
      this.actions.addPictures(target, pictures);
    }
  }

  return { View, percent };
})();
