/* Small line charts, drawn as SVG: x is always the number of gradient steps. */
const SketchCurves = (() => {
  "use strict";

  /** Draw lines into `svg`.
   *
   * lines: [{values, colour, strong, label}]; options: {size, top, format, description}, the size being that of
   * the viewBox.
   */
  function draw(svg, lines, options) {
    const [width, height] = options.size;
    const [left, right, above, below] = [40, 10, 8, 22];
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", options.description);
    svg.replaceChildren();
    const steps = Math.max(1, ...lines.map((line) => line.values.length - 1));
    const top = options.top || Math.max(0.01, ...lines.flatMap((line) => line.values));
    const x = (step) => left + (step / steps) * (width - left - right);
    const y = (value) => above + (1 - value / top) * (height - above - below);
    for (const share of [0, 0.5, 1]) {
      makeSvg("line", { x1: left, x2: width - right, y1: y(share * top), y2: y(share * top),
        class: "grid" }, svg);
      makeSvg("text", { x: left - 6, y: y(share * top) + 4, "text-anchor": "end", class: "tick" },
        svg, options.format(share * top));
    }
    const every = steps <= 10 ? 1 : 5;
    for (let step = 0; step <= steps; step += every) {
      makeSvg("text", { x: x(step), y: height - 6, "text-anchor": "middle", class: "tick" },
        svg, String(step));
    }
    // What is not a number is null, and its place stays empty.
    const known = (line) => line.values.map((value, step) => [step, value])
      .filter(([, value]) => value !== null);
    for (const line of [...lines].sort((a, b) => (a.strong ? 1 : 0) - (b.strong ? 1 : 0))) {
      const points = known(line).map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`);
      makeSvg("polyline", { points: points.join(" "), stroke: line.colour, fill: "none",
        class: line.strong ? "line strong" : "line" }, svg);
      if (line.strong || line.values.length === 1) {
        for (const [step, value] of known(line)) {
          makeSvg("circle", { cx: x(step), cy: y(value), r: 2.6, fill: line.colour }, svg);
        }
      }
    }
  }

  function clear(svg) {
    svg.replaceChildren();
    svg.removeAttribute("role");
    svg.removeAttribute("aria-label");
  }

  return { draw, clear };
})();
