/* The line at the lower edge of the window: messages, and on a phone the way to the Ask panel.
 *
 * It keeps its room, so a message never covers anything.
 */
const SketchDock = (() => {
  "use strict";

  const { el, say } = Dom;

  class Dock {
    constructor({ t, actions }) {
      this.t = t;
      this.topic = null;
      this.status = el("p", { class: "status", role: "status" });
      // Between messages: on a phone the answer, beside a mouse how long it took.
      this.told = el("p", { class: "told", "aria-hidden": "true" });
      this.timing = el("p", { class: "timing", text: t("curves_empty") });
      this.ask = SketchIcons.button(t("ask"), { glyph: "ask", text: t("ask"),
        kind: "primary dock-ask", onclick: actions.toggleAsk });
      this.hint = el("p", { class: "first-hint" });
      this.dismiss = SketchIcons.button(t("dismiss_hint"), { glyph: "close", kind: "icon quiet",
        onclick: actions.dismissHints });
      this.node = el("div", { class: "dock" }, this.told, this.timing, this.hint, this.dismiss,
        this.status, this.ask);
      this.showHint(null);
    }

    show(doc) {
      this.ask.disabled = SketchDocument.taughtCount(doc) < 2;
    }

    /** Show a hint, which stays until another one takes its place; null for none. */
    showHint(hint) {
      say(this.hint, hint ? this.t(hint) : "");
      this.hint.hidden = this.dismiss.hidden = !hint;
      this.node.classList.toggle("hinting", Boolean(hint));
    }

    /** Show a message for a while.  `topic` says what it is about, see `over`. */
    message(text, kind = "", topic = null) {
      clearTimeout(this.timer);
      this.topic = topic;
      say(this.status, text);
      this.status.className = "status " + kind;
      if (!text) return;
      this.status.style.animationDuration = SketchTimes.message + "ms";
      this.timer = setTimeout(() => this.message(""), SketchTimes.message);
    }

    /** Whether it shows what went wrong. */
    get isBad() {
      return this.status.classList.contains("bad") && this.status.textContent !== "";
    }

    /** What messages of that topic speak of is over. */
    over(topic) {
      if (this.topic === topic) this.message("");
    }

    showAnswer(told, answer) {
      say(this.told, told);
      if (answer?.trajectory) {
        say(this.timing, this.t("timing", { adapted: Math.round(answer.adapted_ms),
          answered: Math.round(answer.answered_ms) }));
      }
    }
  }

  return { Dock };
})();
