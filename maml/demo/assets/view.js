/* The view: puts the panels together and brings them in line with a document and an answer.
 *
 * Nothing that a stroke or an answer changes may change the height of anything above or beside a
 * pad: what is not to be seen yet keeps its room, or the next stroke would miss its pad.
 */
const SketchView = (() => {
  "use strict";

  const { el, say } = Dom;
  const { button } = SketchIcons;

  class Toolbar {
    constructor({ t, actions }, sets) {
      const chooser = el("select", { class: "select", "aria-label": t("example_set") },
        ...sets.map((one) => el("option", { value: one.key, text: t("set_" + one.key) })));
      const tool = (key, glyph, kind, onclick) => button(t(key), { glyph, text: t(key), kind, onclick });
      this.undo = tool("undo", "undo", "foldable", actions.undo);
      this.redo = tool("redo", "redo", "foldable", actions.redo);
      this.clearAll = tool("clear_all", "erase", "", actions.clearAll);
      const language = button(t("other_language_name"), { text: t("other_language"), kind: "quiet",
        onclick: actions.switchLanguage });
      language.lang = t("other_language_code");
      this.node = el("div", { class: "tools", role: "toolbar", "aria-label": t("tools") },
        el("span", { class: "group" }, chooser, tool("load_example", "spark", "primary",
          () => actions.loadSet(chooser.value))),
        el("span", { class: "group history" }, this.undo, this.redo, this.clearAll),
        el("span", { class: "push" }), language);
    }

    show(doc, { canUndo, canRedo }) {
      this.undo.disabled = !canUndo;
      this.redo.disabled = !canRedo;
      this.clearAll.disabled = !doc.symbols.length && !doc.query.length;
    }
  }

  class View {
    /** context: what every panel needs: {t, actions, inkOf}. */
    constructor(root, context, sets, language) {
      const { t } = context;
      this.root = root;
      this.actions = context.actions;
      this.toolbar = new Toolbar(context, sets);
      this.ask = new SketchAskPanel.AskPanel(context);
      this.adapt = new SketchAdaptPanel.AdaptPanel(context);
      this.teach = new SketchTeachPanel.TeachPanel(context);
      this.mistakes = new SketchMistakesPanel.MistakesPanel(context);
      this.keep = new SketchKeepPanel.KeepPanel(context);
      this.status = el("p", { class: "status", role: "status" });
      this.right = el("div", { class: "column right" }, this.ask.node, this.adapt.node);
      root.lang = language;
      root.replaceChildren(
        el("header", { class: "head" }, el("h1", { text: t("title") }),
          el("p", { text: t("tagline") })),
        this.toolbar.node,
        el("div", { class: "layout" },
          el("div", { class: "column left" }, this.teach.node, this.mistakes.node, this.keep.node),
          this.right),
        this.status);

      this.abort = new AbortController();
      const signal = this.abort.signal;
      document.addEventListener("keydown", (event) => this.key(event), { signal });
      document.addEventListener("paste", (event) => this.paste(event), { signal });
      this.tall = new ResizeObserver(() =>
        this.right.style.setProperty("--height", this.right.offsetHeight + "px"));
      this.tall.observe(this.right);
      this.themes = new MutationObserver(() => {
        this.ask.repaint();
        this.teach.repaint();
      });
      this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    }

    forget() {
      this.abort.abort();
      this.themes.disconnect();
      this.tall.disconnect();
      this.ask.forget();
      this.teach.forget();
    }

    /** Bring the page in line with the document. */
    show(doc, history) {
      this.doc = doc;
      this.toolbar.show(doc, history);
      for (const panel of [this.teach, this.ask, this.adapt, this.mistakes, this.keep]) {
        panel.show(doc);
      }
    }

    /** Bring it in line with an answer; null if there is none yet. */
    showAnswer(answer) {
      this.ask.showAnswer(this.doc, answer);
      this.teach.showInks();
      this.adapt.showAnswer(this.doc, answer);
    }

    message(text, kind = "") {
      say(this.status, text);
      this.status.className = "status " + kind;
    }

    key(event) {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      if (!this.root.offsetParent) return; // another tab is open
      if (event.target instanceof Element && event.target.closest("input[type=text], textarea")) {
        return;
      }
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) this.actions.redo();
      else this.actions.undo();
    }

    paste(event) {
      if (!this.root.offsetParent) return;
      const pictures = [...(event.clipboardData?.files ?? [])];
      const { cards, pointed } = this.teach;
      const target = cards.has(pointed) ? pointed : this.doc.symbols[0]?.id;
      if (!pictures.length || target === undefined) return;
      event.preventDefault();
      this.actions.addPictures(target, pictures);
    }
  }

  return { View };
})();
