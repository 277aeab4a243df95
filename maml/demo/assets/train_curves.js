/* Accuracy and loss of the runs, by steps or by seconds at work. */
const RunCurves = (() => {
  "use strict";

  const { el } = Dom;

  /** Where a point [step, ..., seconds] stands. */
  const places = (bySeconds) => (point) => (bySeconds ? point.at(-1) : point[0]);

  /** The lines of one run in the chart of a column of its points. */
  function linesOf(run, column, at, latest) {
    const { number } = run;
    const look = (kind) => `${Runs.hue(number)} ${kind}`;
    const along = (points) => points.map((point) => [at(point), point[column]]);
    const lines = [
      { key: `train ${number}`, className: look(latest ? "train faint" : "old faint"),
        points: along(run.train) },
      { key: `test ${number}`, className: look(latest ? "test strong" : "old strong"),
        dots: latest && run.test.length < 60, points: along(run.test) },
    ];
    if (column === 1) {
      for (const [shape, points] of Object.entries(run.others)) {
        lines.push({ key: `${shape} ${number}`, className: look(latest ? "other dashed" : "old dashed"),
          points: along(points) });
      }
    }
    return lines;
  }

  /** Where the stages of a run meet, in the units of the x axis. */
  function stagesOf(run, bySeconds, at, t) {
    return run.stages.slice(0, -1).map(({ name, last }, k) => {
      const reached = run.train.find((point) => point[0] >= last);
      return { x: bySeconds ? reached && at(reached) : last, before: t(`stage_${name}`),
        after: t(`stage_${run.stages[k + 1].name}`) };
    }).filter(({ x }) => x);
  }

  /** Shape of tasks, which Python gives in English, in the page's language. */
  function shapeIn(t, protocol) {
    const found = protocol.match(/^(\d+)-way (\d+)-shot( within one alphabet)?$/);
    return found ? t(found[3] ? "shape_within" : "shape", { ways: found[1], shots: found[2] })
      : protocol;
  }

  class Pair {
    /** accuracy, loss: line charts; key, lossKey: their legends; t: gives texts. */
    constructor({ accuracy, loss, key, lossKey }, t) {
      Object.assign(this, { accuracy, loss, key, lossKey, t });
      this.lossTop = 0;
      this.shownKey = "";
    }

    /** Show runs, the latest one last.
     *
     * live: what Python says of the latest; latest: its curves, or null; runs: all that are shown.
     */
    show(live, latest, runs, bySeconds) {
      const { t } = this;
      const at = places(bySeconds);
      const ends = runs.flatMap((one) => [one.train, one.test]).map((points) => points.at(-1))
        .filter(Boolean).map(at);
      let xTop = Math.max(1, ...ends);
      if (bySeconds) xTop = Charts.roundUp(Math.max(30, xTop));
      else if (latest && runs.includes(latest)) xTop = Math.max(xTop, live.iterations);
      else if (!runs.length) xTop = live?.iterations ?? 0;
      const losses = runs.flatMap((one) => [...one.train, ...one.test]).map((point) => point[2])
        .filter((value) => value !== null);
      this.lossTop = losses.length
        ? Math.max(this.lossTop, Charts.roundUp(Math.max(0.05, ...losses))) : 0;
      const lines = (column) => runs.flatMap(
        (one) => linesOf(one, column, at, one === latest));
      const chances = [...new Set(runs.flatMap((one) => Object.values(one.chances)))];
      const guessing = chances.map((level) => ({ key: `chance ${level}`, className: "chance",
        points: [[0, level], [xTop, level]] }));
      const last = latest?.test.at(-1);
      const described = (name, value) => (last ? t("chart_described", { what: t(name), value })
        : t("chart_empty", { what: t(name) }));
      const common = { xTop, label: t(bySeconds ? "seconds_axis" : "iteration_axis"),
        stages: latest && runs.includes(latest) ? stagesOf(latest, bySeconds, at, t) : [] };
      this.accuracy.show([...guessing, ...lines(1)], { ...common, yTop: 100,
        description: described("accuracy", last?.[1].toFixed(1)) });
      this.loss.show(lines(2), { ...common, yTop: this.lossTop || 2,
        description: described("loss", last?.[2]?.toFixed(2) ?? "?") });
      this.showKeys(latest ?? runs.at(-1) ?? null);
    }

    showKeys(run) {
      const { t } = this;
      const known = JSON.stringify([t("train_line"), run?.number, run?.protocol,
        Object.keys(run?.others ?? {})]);
      if (known === this.shownKey) return;
      this.shownKey = known;
      const hue = Runs.hue(run?.number ?? 1);
      const swatch = (kind, text) => el("span", { class: "entry" },
        el("span", { class: `swatch ${hue} ${kind}` }), text);
      const test = run ? t("test_of", { shape: shapeIn(t, run.protocol) }) : t("test_line");
      this.key.replaceChildren(swatch("strong", test),
        ...Object.keys(run?.others ?? {}).map((shape) => swatch("dashed",
          t("test_of", { shape: shapeIn(t, shape) }))),
        swatch("faint", t("train_line")), swatch("chance", t("chance_line")));
      this.lossKey.replaceChildren(swatch("strong", test), swatch("faint", t("train_line")));
    }
  }

  return { Pair };
})();
