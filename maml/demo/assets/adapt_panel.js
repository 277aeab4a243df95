/* How the network adapts: the number of steps, a curve for each thing that changes with them, and a
 * map of all drawings. */
const SketchAdaptPanel = (() => {
  "use strict";

  const { el, say } = Dom;
  const { LIMITS } = SketchDocument;
  const { button } = SketchIcons;
  const SIZES = { curve_loss: [150, 112], curve_accuracy: [150, 112], curve_path: [210, 112] };

  const whole = (share) => Math.round(100 * share);
  const percent = (share) => whole(share) + "%";
  const short = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(value < 1 ? 2 : 1));

  class AdaptPanel {
    constructor({ t, actions }) {
      this.t = t;
      this.steps = el("input", { type: "range", min: "0", max: String(LIMITS.steps), step: "1",
        "aria-label": t("steps"), oninput: () => this.slide(actions, true),
        onchange: () => this.slide(actions, false) });
      this.stepsOut = el("output", { class: "steps-out" });
      const figures = Object.keys(SIZES).map((name) => {
        const svg = makeSvg("svg", { class: "chart" });
        const [width, height] = SIZES[name];
        this[name] = new Charts.LineChart(svg, { width, height, whole: true, rows: 2,
          format: name === "curve_loss" ? String : percent });
        return el("figure", { class: "curve " + name }, el("figcaption", { text: t(name) }), svg);
      });
      const map = makeSvg("svg", { class: "map" });
      this.map = new SketchDrawingMap.DrawingMap(map);
      this.play = button(t("play"), { glyph: "play", text: t("play_short"), onclick: actions.play });
      this.node = el("section", { class: "panel adapt", "aria-label": t("adaptation") },
        el("div", { class: "adapt-head" }, el("h2", { text: t("adaptation") }),
          el("label", { class: "slider" }, el("span", { text: t("steps") }), this.steps,
            this.stepsOut), this.play),
        el("div", { class: "figures" }, el("div", { class: "curves" }, ...figures),
          el("figure", { class: "curve drawing-map" }, el("figcaption", { text: t("map") }), map)));
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
        if (this.shown !== answer) return;
        const { position } = this;
        this.draw(doc, answer);
        if (position !== undefined) this.showStep(position, false);
      }));
    }

    draw(doc, answer) {
      const curve = answer?.trajectory ?? null;
      if (curve !== this.drawn) this.drawSupport(curve);
      this.drawn = curve;
      if (answer?.shares_path) this.drawPath(doc, answer);
      else this.curve_path.clear();
      this.drawMap(answer);
      this.play.disabled = !curve || curve.length < 2;
    }

    drawMap(answer) {
      if (!answer?.map) {
        this.map.clear();
        return;
      }
      const colours = answer.symbols.flatMap((id, i) =>
        Array(answer.shots[i]).fill(SketchCard.colourOf(id)));
      this.map.show({ places: answer.map, colours, query: answer.query_places ?? null,
        description: this.t("map_described", { count: colours.length,
          steps: answer.map.length - 1 }) });
    }

    /** Show how things stood after that many steps; `last` says that it was the last one. */
    showStep(position, last) {
      this.position = last ? undefined : position;
      const steps = (this.drawn?.length ?? 1) - 1;
      for (const name of Object.keys(SIZES)) {
        this[name].mark(last ? null : position, Math.max(1, steps));
      }
      this.map.showStep(last ? steps : position);
    }

    drawSupport(curve) {
      if (!curve) {
        this.curve_loss.clear();
        this.curve_accuracy.clear();
        return;
      }
      const losses = curve.map((one) => one.loss);
      const top = Charts.roundUp(Math.max(0.01, ...losses.filter((value) => value !== null)));
      this.line("curve_loss", losses, "var(--accent)", short, top);
      this.line("curve_accuracy", curve.map((one) => one.accuracy), "var(--good)", percent, 1);
    }

    line(name, values, colour, format, yTop) {
      const told = (value) => (value === null ? "?" : format(value));
      const steps = values.length - 1;
      this[name].show([{ key: name, className: "line strong", colour, dots: true,
        points: values.map((value, step) => [step, value]) }], { xTop: Math.max(1, steps), yTop,
        description: this.t(name.replace("curve_", "") + "_described",
          { from: told(values[0]), to: told(values.at(-1)), steps }) });
    }

    drawPath(doc, { symbols, shares_path: path, leader, winner }) {
      const strong = leader === null ? undefined : winner;
      const lines = [...symbols, null].map((id, i) => ({ key: id ?? "none",
        colour: id === null ? "var(--faint)" : SketchCard.colourOf(id),
        className: id === strong ? "line strong" : "line", dots: id === strong,
        points: path.map((row, step) => [step, row[i]]) }));
      const { points, key } = lines.find((line) => line.dots) ?? lines[0];
      const name = key === "none" ? this.t("none")
        : doc.symbols.find((symbol) => symbol.id === key)?.name ?? "?";
      const steps = points.length - 1;
      this.curve_path.show(lines.sort((a, b) => a.dots - b.dots), { xTop: Math.max(1, steps),
        yTop: 1, description: this.t("path_described", { name, from: whole(points[0][1]),
          to: whole(points.at(-1)[1]), steps }) });
    }
  }

  return { AdaptPanel };
})();
