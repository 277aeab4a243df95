/* "Easier to adapt": accuracy by inner step from chosen starting points of a run. */
const StepCurves = (() => {
  "use strict";

  const { el } = Dom;
  const LIGHTEST = 30; // per cent of the run's colour

  /** The starting points with their colours and names. */
  function named(moments, colour, t) {
    return moments.map((one, k) => {
      const last = k === moments.length - 1;
      const share = Math.round(LIGHTEST + (100 - LIGHTEST) * (k / Math.max(1, moments.length - 1)));
      const iteration = one.iteration.toLocaleString("en");
      const untrained = one.iteration === 0;
      return {
        ...one,
        className: untrained ? "moment untrained" : last ? "moment now" : "moment",
        colour: untrained ? "var(--faint)"
          : `color-mix(in oklab, ${colour} ${share}%, var(--paper))`,
        name: untrained ? t("steps_untrained")
          : t(last ? "steps_now" : "steps_at", { iteration }),
      };
    });
  }

  /** Show the starting points of a run.
   *
   * chart: a line chart; key, says: elements for the legend and one sentence; run: null for none;
   * colour: of the run.
   */
  function show({ chart, key, says }, run, colour, t) {
    const moments = named(run?.moments ?? [], colour, t);
    const now = moments.at(-1);
    const steps = now ? now.by_step.length - 1 : 5;
    const compared = now && now.prototypes !== null;
    const lines = [];
    for (const one of moments) {
      const look = { className: one.className, colour: one.colour };
      lines.push({ ...look, key: `from ${one.iteration}`, dots: true,
        points: one.by_step.map((value, step) => [step, 100 * value]) });
      if (compared) {
        lines.push({ ...look, key: `prototypes ${one.iteration}`, dots: true,
          points: [[steps + 1, 100 * one.prototypes]] });
      }
    }
    key.replaceChildren(...moments.map((one) => {
      const swatch = el("span", { class: `swatch ${one.className}` });
      swatch.style.setProperty("--stroke", one.colour);
      return el("span", { class: "entry" }, swatch, one.name);
    }));
    const percent = (share) => (100 * share).toFixed(1);
    says.textContent = compared && now.by_step.length > 1 ? t("steps_say",
      { adapted: percent(now.by_step.at(-1)), prototypes: percent(now.prototypes) }) : "";
    const places = Array.from({ length: steps + 1 }, (_, k) => [k, String(k)]);
    if (compared) places.push([steps + 1, t("prototypes_place")]);
    const spoken = now ? now.by_step.map((value) => Math.round(100 * value)).join(", ") : "";
    chart.show(lines, { xTop: steps + (compared ? 1 : 0) || 1, yTop: 100, places,
      label: t("inner_step"), description: `${t("steps_title")}: ${spoken}. ${says.textContent}` });
  }

  return { show };
})();
