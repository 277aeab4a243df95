/* The view: puts the panels together and brings them in line with a document and an answer.
 *
 * Nothing that a stroke or an answer changes may change the height of anything above or beside a
 * pad: what is not to be seen yet keeps its room, or the next stroke would miss its pad.
 */
const SketchView = (() => {
  "use strict";

  const { el } = Dom;
  const { button } = SketchIcons;

  class Toolbar {
    constructor({ t, actions }, sets) {
      const chooser = el("select", { class: "select", "aria-label": t("example_set") },
        ...sets.map((one) => el("option", { value: one.key, text: t("set_" + one.key) })));
      const tool = (key, glyph, kind, onclick) => button(t(key), { glyph, text: t(key), kind, onclick });
      this.undo = tool("undo", "undo", "foldable", actions.undo);
      this.redo = tool("redo", "redo", "foldable", actions.redo);
      this.clearAll = tool("clear_all", "erase", "", actions.clearAll);
      this.node = el("div", { class: "tools", role: "toolbar", "aria-label": t("tools") },
        el("span", { class: "group" }, chooser, tool("load_example", "spark", "primary",
          () => actions.loadSet(chooser.value))),
        el("span", { class: "group history" }, this.undo, this.redo, this.clearAll));
    }

    show(doc, { canUndo, canRedo }) {
      this.undo.disabled = !canUndo;
      this.redo.disabled = !canRedo;
      this.clearAll.disabled = !doc.symbols.length && !SketchDocument.isAsked(doc);
    }
  }

  /** The page's title and its language: it stands above both tabs. */
  function showHeader(header, { t, actions }) {
    const language = button(t("other_language_name"), { text: t("other_language"), kind: "quiet",
      onclick: actions.switchLanguage });
    language.lang = t("other_language_code");
    header.replaceChildren(el("h1", { text: t("title") }), el("p", { text: t("tagline") }), language);
  }

  class View {
    /** context: what every panel needs: {t, actions, inkOf}. */
    constructor(root, context, sets, language) {
      this.root = root;
      this.actions = context.actions;
      this.preview = new SketchPreview.Preview(context);
      const parts = { ...context, preview: this.preview };
      this.toolbar = new Toolbar(context, sets);
      this.ask = new SketchAskPanel.AskPanel(parts);
      this.adapt = new SketchAdaptPanel.AdaptPanel(parts);
      this.teach = new SketchTeachPanel.TeachPanel(parts);
      this.compare = new SketchComparePanel.ComparePanel(parts);
      this.mistakes = new SketchMistakesPanel.MistakesPanel(parts);
      this.keep = new SketchKeepPanel.KeepPanel(parts);
      this.dock = new SketchDock.Dock(parts);
      this.replay = new SketchReplay.Replay((position, last) => {
        this.ask.showStep(position, last);
        this.adapt.showStep(position, last);
      });
      this.right = el("div", { class: "column right" }, this.ask.slot, this.adapt.node);
      root.lang = language;
      root.classList.remove("asking");
      document.title = context.t("title");
      document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
      Dom.whenThere(".maml-header", (header) => showHeader(header, context));
      root.replaceChildren(
        el("div", { class: "frame" }, this.toolbar.node,
          el("div", { class: "layout" },
            el("div", { class: "column left" }, this.teach.node, this.compare.node, this.mistakes.node,
              this.keep.node),
            this.right)),
        this.dock.node, this.preview.node);

      this.abort = new AbortController();
      const signal = this.abort.signal;
      document.addEventListener("keydown", (event) => this.key(event), { signal });
      document.addEventListener("paste", (event) => this.paste(event), { signal });
      this.tall = new ResizeObserver(() => {
        this.right.style.setProperty("--height", this.right.offsetHeight + "px");
        // A window that has grown shows the panel beside the cards again.
        if (!this.dock.ask.offsetParent) this.ask.close();
      });
      this.tall.observe(this.right);
      this.themes = new MutationObserver(() => {
        this.ask.repaint();
        this.teach.repaint();
      });
      this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    }

    forget() {
      this.replay.stop();
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
      const parts = [this.teach, this.ask, this.adapt, this.mistakes, this.keep, this.dock];
      for (const part of parts) part.show(doc);
    }

    /** Show a hint (the key of its words, or null) and mark the pad that it speaks of. */
    showHint(hint) {
      this.dock.showHint(hint);
      const empty = this.doc.symbols.find((symbol) => !SketchDocument.drawingCount(symbol));
      const teaching = hint === "hint_first" || hint === "hint_second";
      for (const [id, card] of this.teach.cards) {
        card.node.classList.toggle("hinted", teaching && id === empty?.id);
      }
      this.ask.node.classList.toggle("hinted", Boolean(hint) && !teaching);
    }

    /** Bring it in line with an answer; null if there is none yet. */
    showAnswer(answer) {
      this.replay.stop();
      const losses = (answer?.trajectory ?? []).map((one) => one.loss ?? 0);
      this.steps = Math.max(0, losses.length - 1);
      this.pace = SketchReplay.pacedBy(losses.slice(1).map((loss, k) => Math.abs(loss - losses[k])));
      this.ask.showAnswer(this.doc, answer);
      this.teach.showInks();
      this.adapt.showAnswer(this.doc, answer);
      if (!answer?.shares) this.compare.clear();
      // What is newly taught is seen to be learnt.
      const taught = answer?.trajectory ? JSON.stringify([answer.symbols, answer.trajectory]) : "";
      if (taught && taught !== this.taught) {
        this.replay.start(this.steps, SketchTimes.replay, this.pace);
      } else this.replay.show(this.steps, true);
      if (taught) this.taught = taught;
      this.dock.showAnswer(this.ask.told, answer);
    }

    message(text, kind, topic) {
      this.dock.message(text, kind, topic);
    }

    play() {
      this.replay.start(this.steps, SketchTimes.slowReplay, this.pace);
    }

    toggleAsk() {
      if (this.ask.isOpen) this.ask.close();
      else this.ask.open(this.root);
    }

    key(event) {
      if (!this.root.offsetParent) return; // another tab is open
      if (event.key === "Escape") this.ask.close();
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
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
      if (pictures.length && this.ask.node.matches(":hover")) {
        event.preventDefault();
        this.actions.askPicture(pictures[0]);
        return;
      }
      const { cards, pointed } = this.teach;
      const target = cards.has(pointed) ? pointed : this.doc.symbols[0]?.id;
      if (!pictures.length || target === undefined) return;
      event.preventDefault();
      this.actions.addPictures(target, pictures);
    }
  }

  return { View };
})();
