/* Line charts that grow without flicker: axes stay, only the lines' points change. */
const TrainChart = (() => {
  "use strict";

  const [LEFT, RIGHT, ABOVE, BELOW] = [40, 12, 10, 42];

  /** Round numbers that part [0, top] in about `count` pieces. */
  function ticks(top, count) {
    const rough = top / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
    const found = [];
    for (let k = 0; k * step <= top * 1.0001; k += 1) found.push(Number((k * step).toPrecision(6)));
    return found;
  }

  /** The smallest of 1, 1.5, 2, 3, 5, 7.5 times a power of ten that is at least `value`. */
  function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 1.5, 2, 3, 5, 7.5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
  }

  class Chart {
    /** options: {width, height, label, whole} - `label`: of the x axis; `whole`: it takes whole
     * numbers only. */
    constructor(svg, options) {
      this.svg = svg;
      this.options = options;
      svg.setAttribute("viewBox", `0 0 ${options.width} ${options.height}`);
      svg.setAttribute("role", "img");
      this.axes = makeSvg("g", {}, svg);
      this.lines = makeSvg("g", {}, svg);
      this.drawn = new Map();
      this.limits = "";
    }

    /** Show lines: [{key, points: [[x, y], ...], className, dots}], within [0, xTop] x [0, yTop]; an
     * xTop of 0 means that nobody knows yet. */
    show(lines, xTop, yTop, description) {
      this.svg.setAttribute("aria-label", description);
      const { width, height } = this.options;
      const x = (value) => LEFT + (value / (xTop || 1)) * (width - LEFT - RIGHT);
      const y = (value) => ABOVE + (1 - Math.min(value, yTop * 1.02) / yTop) * (height - ABOVE - BELOW);
      const limits = `${xTop} ${yTop}`;
      if (limits !== this.limits) {
        this.limits = limits;
        this.axes.replaceChildren();
        for (const value of ticks(yTop, 4)) {
          makeSvg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" },
            this.axes);
          makeSvg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end", class: "tick" },
            this.axes, String(value));
        }
        const found = !xTop ? [0] : this.options.whole && xTop <= 10
          ? Array.from({ length: xTop + 1 }, (_, k) => k) : ticks(xTop, 5);
        for (const value of found) {
          makeSvg("text", { x: x(value), y: height - BELOW + 18, class: "tick",
            "text-anchor": value === 0 ? "start" : value > 0.97 * xTop ? "end" : "middle" },
          this.axes, value.toLocaleString("en"));
        }
        makeSvg("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle",
          class: "tick" }, this.axes, this.options.label);
      }
      const gone = new Set(this.drawn.keys());
      for (const line of lines) {
        gone.delete(line.key);
        let group = this.drawn.get(line.key);
        if (!group) {
          group = makeSvg("g", {}, this.lines);
          group.path = makeSvg("polyline", { fill: "none" }, group);
          group.dots = makeSvg("g", {}, group);
          this.drawn.set(line.key, group);
        }
        group.setAttribute("class", line.className);
        const places = line.points.map(([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)]);
        group.path.setAttribute("points", places.map((place) => place.join(",")).join(" "));
        const dotted = line.dots ? places : places.length === 1 ? places : [];
        while (group.dots.childNodes.length > dotted.length) group.dots.lastChild.remove();
        while (group.dots.childNodes.length < dotted.length) makeSvg("circle", { r: 2.6 }, group.dots);
        dotted.forEach(([cx, cy], k) => {
          group.dots.childNodes[k].setAttribute("cx", cx);
          group.dots.childNodes[k].setAttribute("cy", cy);
        });
      }
      for (const key of gone) {
        this.drawn.get(key).remove();
        this.drawn.delete(key);
      }
    }
  }

  return { Chart, roundUp, ticks };
})();
