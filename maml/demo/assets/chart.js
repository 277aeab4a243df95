/* Small line charts in SVG that grow without flicker: axes stay, only the lines' points change. */
const Charts = (() => {
  "use strict";

  const MARGINS = { left: 40, right: 12, above: 10, below: 42 };
  const UNLABELLED_BELOW = 22;

  /** Round numbers that part [0, top] in about `count` pieces. */
  function ticks(top, count) {
    const rough = top / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
    const found = [];
    for (let k = 0; k * step <= top * 1.0001; k += 1) found.push(Number((k * step).toPrecision(6)));
    return found;
  }

  /** The smallest of 1, 1.5, 2, 3, 5, 7.5 times a power of ten that is at least `value`. */
  function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 1.5, 2, 3, 5, 7.5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
  }

  class LineChart {
    /** Draw into `svg`.
     *
     * options: {width, height} of the viewBox; `label` of the x axis, if it needs one; `whole`: x
     * takes whole numbers only; `format` of the numbers at the y axis; `rows`: about so many of them.
     */
    constructor(svg, options) {
      this.svg = svg;
      this.options = { label: "", whole: false, format: String, rows: 4, ...options };
      this.below = this.options.label ? MARGINS.below : UNLABELLED_BELOW;
      svg.setAttribute("viewBox", `0 0 ${options.width} ${options.height}`);
      this.clear();
    }

    /** Take another size, {width, height} of the viewBox; what is shown must be shown again. */
    resize(width, height) {
      Object.assign(this.options, { width, height });
      this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.limits = "";
    }

    /** Show nothing. */
    clear() {
      this.svg.replaceChildren();
      this.svg.removeAttribute("role");
      this.svg.removeAttribute("aria-label");
      this.axes = null;
      this.drawn = new Map();
      this.limits = "";
    }

    /** Show lines within [0, xTop] x [0, yTop], the last one on top.
     *
     * lines: [{key, points: [[x, y], ...], className, colour, dots}]; a y of null is left out.  An
     * xTop of 0 means that nobody knows yet how far x will go.  label: of the x axis, in place of the
     * one in the options; places: [[x, text], ...] in place of numbers at the x axis; stages:
     * [{x, before, after}], where one stage ends and the next begins, with their names.
     */
    show(lines, { xTop, yTop, description, label = this.options.label, places = null,
      stages = [] }) {
      if (!this.axes) {
        this.axes = makeSvg("g", {}, this.svg);
        this.lines = makeSvg("g", {}, this.svg);
        this.svg.setAttribute("role", "img");
      }
      this.svg.setAttribute("aria-label", description);
      this.showAxes(xTop, yTop, { label, places, stages });
      const gone = new Set(this.drawn.keys());
      for (const line of lines) {
        gone.delete(line.key);
        this.showLine(line, xTop, yTop);
      }
      for (const key of gone) {
        this.drawn.get(key).remove();
        this.drawn.delete(key);
      }
      const order = lines.map((line) => this.drawn.get(line.key));
      if (order.some((group, k) => this.lines.childNodes[k] !== group)) this.lines.append(...order);
    }

    /** Mark a place on the x axis with a line; null takes it away. */
    mark(value, xTop) {
      if (value === null || !this.axes) {
        this.marker?.remove();
        this.marker = null;
        return;
      }
      this.marker ??= makeSvg("line", { class: "marker", y1: MARGINS.above,
        y2: this.options.height - this.below });
      if (!this.marker.isConnected) this.svg.append(this.marker);
      const x = this.x(value, xTop).toFixed(1);
      this.marker.setAttribute("x1", x);
      this.marker.setAttribute("x2", x);
    }

    x(value, top) {
      const { width } = this.options;
      return MARGINS.left + (value / (top || 1)) * (width - MARGINS.left - MARGINS.right);
    }

    y(value, top) {
      const room = this.options.height - MARGINS.above - this.below;
      return MARGINS.above + (1 - Math.min(value, top * 1.02) / top) * room;
    }

    showAxes(xTop, yTop, { label, places, stages }) {
      const limits = JSON.stringify([xTop, yTop, label, places, stages]);
      if (limits === this.limits) return;
      this.limits = limits;
      const { width, height, whole, format, rows } = this.options;
      this.axes.replaceChildren();
      for (const value of ticks(yTop, rows)) {
        const y = this.y(value, yTop);
        makeSvg("line", { x1: MARGINS.left, x2: width - MARGINS.right, y1: y, y2: y,
          class: "grid" }, this.axes);
        makeSvg("text", { x: MARGINS.left - 6, y: y + 4, "text-anchor": "end", class: "tick" },
          this.axes, format(value));
      }
      const every = whole && xTop <= 10;
      const found = !xTop ? [0] : every ? Array.from({ length: xTop + 1 }, (_, k) => k)
        : ticks(xTop, 5);
      for (const [value, text] of places ?? found.map((one) => [one, one.toLocaleString("en")])) {
        const anchor = value === 0 ? "start" : value > 0.97 * xTop ? "end" : "middle";
        makeSvg("text", { x: this.x(value, xTop), y: height - this.below + 18, class: "tick",
          "text-anchor": anchor }, this.axes, text);
      }
      for (const { x, before, after } of stages) {
        const at = this.x(x, xTop);
        makeSvg("line", { x1: at, x2: at, y1: MARGINS.above, y2: height - this.below,
          class: "stage" }, this.axes);
        // Where there is no room on one side, both names stand on the other, one above the other.
        const early = x < 0.3 * xTop;
        const late = x > 0.7 * xTop;
        const name = (text, right, row) => makeSvg("text", { x: right ? at + 6 : at - 6,
          y: height - this.below - 8 - 20 * row, "text-anchor": right ? "start" : "end",
          class: "tick" }, this.axes, text);
        name(early ? `\u2190 ${before}` : before, early, early ? 1 : 0);
        name(late ? `${after} \u2192` : after, !late, late ? 1 : 0);
      }
      if (label) {
        makeSvg("text", { x: (MARGINS.left + width - MARGINS.right) / 2, y: height - 6,
          "text-anchor": "middle", class: "tick" }, this.axes, label);
      }
    }

    showLine(line, xTop, yTop) {
      let group = this.drawn.get(line.key);
      if (!group) {
        group = makeSvg("g", {}, this.lines);
        group.path = makeSvg("polyline", { fill: "none" }, group);
        group.dots = makeSvg("g", {}, group);
        this.drawn.set(line.key, group);
      }
      group.setAttribute("class", line.className ?? "");
      if (line.colour) group.style.setProperty("--stroke", line.colour);
      const places = line.points.filter(([, y]) => y !== null)
        .map(([x, y]) => [this.x(x, xTop).toFixed(1), this.y(y, yTop).toFixed(1)]);
      group.path.setAttribute("points", places.map((place) => place.join(",")).join(" "));
      const dotted = line.dots || places.length === 1 ? places : [];
      while (group.dots.childNodes.length > dotted.length) group.dots.lastChild.remove();
      while (group.dots.childNodes.length < dotted.length) makeSvg("circle", { r: 2.6 }, group.dots);
      dotted.forEach(([cx, cy], k) => {
        group.dots.childNodes[k].setAttribute("cx", cx);
        group.dots.childNodes[k].setAttribute("cy", cy);
      });
    }
  }

  return { LineChart, roundUp };
})();
