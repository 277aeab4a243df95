/* How the network adapts: the number of steps, and a curve for each thing that changes with them. */
const SketchAdaptPanel = (() => {
  "use strict";

  const { el, say } = Dom;
  const { LIMITS } = SketchDocument;
  const SIZES = { curve_loss: [190, 124], curve_accuracy: [190, 124], curve_path: [386, 176] };

  const whole = (share) => Math.round(100 * share);
  const short = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1));

  class AdaptPanel {
    constructor({ t, actions }) {
      this.t = t;
      this.steps = el("input", { type: "range", min: "0", max: String(LIMITS.steps), step: "1",
        "aria-label": t("steps"), oninput: () => this.slide(actions, true),
        onchange: () => this.slide(actions, false) });
      this.stepsOut = el("output", { class: "steps-out" });
      this.timing = el("p", { class: "note timing" });
      const figures = Object.keys(SIZES).map((name) => {
        this[name] = makeSvg("svg", { class: "chart", viewBox: "0 0 " + SIZES[name].join(" ") });
        return el("figure", { class: "curve " + name }, el("figcaption", { text: t(name) }),
          this[name]);
      });
      this.node = el("section", { class: "panel adapt", "aria-label": t("adaptation") },
        el("h2", { text: t("adaptation") }),
        el("label", { class: "slider" }, el("span", { text: t("steps") }), this.steps,
          this.stepsOut),
        this.timing, el("div", { class: "curves" }, ...figures));
    }

    slide(actions, moving) {
      say(this.stepsOut, this.steps.value);
      actions.steps(Number(this.steps.value), moving);
    }

    show(doc) {
      if (doc.steps === null || document.activeElement === this.steps) return;
      this.steps.value = String(doc.steps);
      say(this.stepsOut, String(doc.steps));
    }

    /** Show an answer's curves; null if there is none yet. */
    showAnswer(doc, answer) {
      // The answer is painted first; the curves follow.
      this.shown = answer;
      cancelAnimationFrame(this.soon);
      this.soon = requestAnimationFrame(() => setTimeout(() => {
        if (this.shown === answer) this.draw(doc, answer);
      }));
    }

    draw(doc, answer) {
      const { t } = this;
      const curve = answer?.trajectory ?? null;
      if (curve !== this.drawn) this.drawSupport(curve);
      this.drawn = curve;
      if (answer?.path) this.drawPath(doc, answer);
      else SketchCurves.clear(this.curve_path);
      say(this.timing, curve ? t("timing", { adapted: Math.round(answer.adapted_ms),
        answered: Math.round(answer.answered_ms) }) : t("curves_empty"));
    }

    drawSupport(curve) {
      if (!curve) {
        SketchCurves.clear(this.curve_loss);
        SketchCurves.clear(this.curve_accuracy);
        return;
      }
      this.line("curve_loss", curve.map((one) => one.loss), "var(--accent)", short);
      this.line("curve_accuracy", curve.map((one) => one.accuracy), "var(--good)",
        (share) => whole(share) + "%", 1);
    }

    line(name, values, colour, format, top) {
      const told = (value) => (value === null ? "?" : format(value));
      SketchCurves.draw(this[name], [{ values, strong: true, colour }], { size: SIZES[name], format,
        top, description: this.t(name.replace("curve_", "") + "_described",
          { from: told(values[0]), to: told(values.at(-1)), steps: values.length - 1 }) });
    }

    drawPath(doc, { symbols, path, leader }) {
      const lines = symbols.map((id, i) => ({ values: path.map((row) => row[i]),
        colour: SketchCard.colourOf(id), strong: id === leader }));
      const { values } = lines.find((line) => line.strong) ?? lines[0];
      const name = doc.symbols.find((symbol) => symbol.id === leader)?.name ?? "?";
      SketchCurves.draw(this.curve_path, lines, { size: SIZES.curve_path, top: 1,
        format: (share) => whole(share) + "%",
        description: this.t("path_described", { name, from: whole(values[0]),
          to: whole(values.at(-1)), steps: values.length - 1 }) });
    }
  }

  return { AdaptPanel };
})();
