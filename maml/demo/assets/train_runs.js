/* The legend of runs: which there are, their colours, and which of them are shown. */
const Runs = (() => {
  "use strict";

  const { el } = Dom;
  const COLOURS = 6;

  /** A run keeps its colour as long as it is there. */
  const hue = (number) => `run-${(number - 1) % COLOURS}`;
  const colour = (number) => `var(--${hue(number)})`;

  /** What a run is called: its recipe and what was changed. */
  function nameOf(run, t) {
    const short = (text) => text.replace(/[:：（(].*$/, "").trim();
    const recipe = short(t("recipe_" + run.recipe));
    const method = run.algorithm ? t("run_by", { recipe, algorithm: t("algorithm_" + run.algorithm) })
      : recipe;
    const changes = Object.entries(run.changes).map(([key, value]) => t("changed_setting",
      { name: t(key).toLowerCase(), value: value === true ? t("on") : value === false ? t("off") : value }));
    const source = run.source === "omniglot" ? [] : [short(t(`source_${run.source}`))];
    return [t("run_name", { number: run.number, recipe: method }), ...source, ...changes].join(t("between"));
  }

  class Legend {
    /** list: an element for the runs; remove(number), changed(): what to do. */
    constructor(list, over, t, remove, changed) {
      Object.assign(this, { list, over, t, remove, changed });
      this.hidden = new Set();
      this.shown = "";
    }

    isShown(run) {
      return !this.hidden.has(run.number);
    }

    /** Show the runs, the latest first. */
    show(runs, language) {
      const key = JSON.stringify([language, [...this.hidden],
        runs.map((one) => [one.number, one.accuracy, one.state])]);
      if (key === this.shown) return;
      this.shown = key;
      const held = document.activeElement?.closest?.(".runs button")?.getAttribute("aria-label");
      this.list.replaceChildren(...runs.map((one) => this.row(one)));
      if (held) {
        [...this.list.querySelectorAll("button")]
          .find((one) => one.getAttribute("aria-label") === held)?.focus();
      }
    }

    row(run) {
      const { t } = this;
      const { number } = run;
      const toggle = el("button", { class: "button toggle", type: "button",
        "aria-pressed": String(this.isShown(run)), "aria-label": t("show_run", { number }),
        title: t("show_run", { number }), onclick: () => {
          if (!this.hidden.delete(number)) this.hidden.add(number);
          this.changed();
        } }, el("span", { class: `swatch ${hue(number)}` }));
      const remove = el("button", { class: "button remove", type: "button", text: "\u00d7",
        "aria-label": t("remove_run", { number }), onclick: () => this.remove(number) });
      const best = run.accuracy === null ? ""
        : t("run_best", { accuracy: (100 * run.accuracy).toFixed(1) });
      return el("li", { class: this.isShown(run) ? null : "off" }, toggle,
        el("span", { class: "run-name" }, nameOf(run, t)), el("span", { class: "note" }, best),
        this.over.includes(run.state) ? remove : el("span"));
    }
  }

  return { Legend, hue, colour };
})();
