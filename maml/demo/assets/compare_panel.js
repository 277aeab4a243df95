/* Why meta-learning: the same drawings, the same question and as many gradient steps from three
 * starting points, side by side. */
const SketchComparePanel = (() => {
  "use strict";

  const { el, say, set } = Dom;
  const { colourOf } = SketchCard;
  const STARTS = ["untrained", "live", "shipped"];
  const PATH = [210, 112];
  const LOSS = [210, 96];

  const percent = (share) => Math.round(100 * share) + "%";

  /** One starting point: what it is, what it answers, and how the answer came about. */
  class Start {
    constructor(name, t) {
      this.t = t;
      this.winner = el("span", { class: "start-winner", dir: "auto" });
      this.sure = el("span", { class: "start-share" });
      const figure = (key, [width, height], format) => {
        const svg = makeSvg("svg", { class: "chart" });
        this[key] = new Charts.LineChart(svg, { width, height, whole: true, rows: 2, format });
        return el("figure", {}, el("figcaption", { text: t(key) }), svg);
      };
      this.node = el("article", { class: "start", "data-start": name,
        "aria-label": t("start_" + name) },
        el("h3", { text: t("start_" + name) }),
        el("p", { class: "note", text: t("start_" + name + "_note") }),
        el("p", { class: "start-answer" }, this.winner, " ", this.sure),
        el("div", { class: "start-charts" },
          figure("curve_path", PATH, percent), figure("curve_loss", LOSS, String)));
    }

    clear() {
      say(this.winner, "");
      say(this.sure, "");
      this.curve_path.clear();
      this.curve_loss.clear();
    }

    /** start: one of the server's; lossTop: of the loss's axis, the same for all. */
    show(start, symbols, nameOf, lossTop) {
      const { t } = this;
      const { shares_path: path, trajectory, leader, winner } = start;
      const steps = trajectory.length - 1;
      this.showLoss(trajectory.map((one) => one.loss), lossTop);
      if (!path) {
        say(this.winner, t("no_finite"));
        say(this.sure, "");
        this.curve_path.clear();
        return;
      }
      const ids = [...symbols, null];
      const told = path[steps][ids.indexOf(winner)];
      say(this.winner, leader === null ? t("start_no_steps") : nameOf(winner));
      say(this.sure, leader === null ? "" : Words.percent(told));
      this.node.style.setProperty("--symbol",
        leader === null || winner === null ? "var(--faint)" : colourOf(winner));
      const strong = leader === null ? undefined : winner;
      const lines = ids.map((id, i) => ({ key: id ?? "none", dots: id === strong,
        colour: id === null ? "var(--faint)" : colourOf(id),
        className: id === strong ? "line strong" : "line",
        points: path.map((row, step) => [step, row[i]]) }));
      const i = strong === undefined ? 0 : ids.indexOf(winner);
      this.curve_path.show([...lines].sort((a, b) => a.dots - b.dots), { xTop: Math.max(1, steps),
        yTop: 1, description: t("path_described", { name: nameOf(ids[i]), steps,
          from: Math.round(100 * path[0][i]), to: Math.round(100 * path[steps][i]) }) });
    }

    showLoss(losses, yTop) {
      const steps = losses.length - 1;
      const told = (value) => value?.toFixed(2) ?? "?";
      this.curve_loss.show([{ key: "loss", className: "line strong", colour: "var(--accent)",
        dots: true, points: losses.map((value, step) => [step, value]) }],
      { xTop: Math.max(1, steps), yTop, description: this.t("loss_described",
        { from: told(losses[0]), to: told(losses[steps]), steps }) });
    }
  }

  class ComparePanel {
    constructor({ t, actions }) {
      this.t = t;
      this.toggle = el("button", { type: "button", role: "switch", class: "button switch",
        onclick: () => actions.compareStarts(!this.on) },
        el("span", { class: "track", "aria-hidden": "true" }), el("span", { text: t("compare") }));
      this.missing = el("p", { class: "note", text: t("compare_missing") });
      this.starts = STARTS.map((name) => new Start(name, t));
      this.out = el("div", { class: "starts" });
      this.node = el("section", { class: "panel compare", "aria-label": t("why") },
        el("h2", { text: t("why") }), el("p", { class: "note", text: t("why_note") }),
        this.toggle, this.missing, this.out);
      this.turn(false);
    }

    turn(on) {
      this.on = on;
      set(this.toggle, "aria-checked", String(on));
      this.out.replaceChildren(...(on ? this.starts.map((start) => start.node) : []));
      this.clear();
    }

    clear() {
      this.node.dataset.compared = "";
      this.missing.hidden = !this.on;
      for (const start of this.starts) start.clear();
    }

    /** Show what the server compared; without an answer there is nothing to compare. */
    showCompared(doc, { revision, symbols, starts }) {
      if (!starts.length) {
        this.clear();
        return;
      }
      const names = new Map(doc.symbols.map(({ id, name }) => [id, name]));
      const nameOf = (id) => (id === null ? this.t("none") : names.get(id) ?? "?");
      const losses = starts.flatMap((one) => one.trajectory.map(({ loss }) => loss));
      const top = Charts.roundUp(Math.max(0.01, ...losses.filter((loss) => loss !== null)));
      starts.forEach((start, i) => this.starts[i].show(start, symbols, nameOf, top));
      this.missing.hidden = true;
      this.node.dataset.compared = String(revision);
    }
  }

  return { ComparePanel };
})();
