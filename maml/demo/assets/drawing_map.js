/* The map: every drawing as a dot where the network's answer to it lies, before and after adapting. */
const SketchDrawingMap = (() => {
  "use strict";

  const { between } = SketchReplay;
  const WIDTH = 160;
  const HEIGHT = 112;
  const REACH = 1.15; // of the map, in each direction

  const x = (value) => WIDTH / 2 + (clamp(value) / REACH) * (HEIGHT / 2) * 1.3;
  const y = (value) => HEIGHT / 2 - (clamp(value) / REACH) * (HEIGHT / 2);
  const clamp = (value) => Math.min(REACH, Math.max(-REACH, value));

  class DrawingMap {
    constructor(svg) {
      this.svg = svg;
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
      this.trails = makeSvg("g", { class: "trails" }, svg);
      this.dots = makeSvg("g", {}, svg);
      this.clear();
    }

    clear() {
      this.places = null;
      this.trails.replaceChildren();
      this.dots.replaceChildren();
      this.svg.removeAttribute("role");
      this.svg.removeAttribute("aria-label");
    }

    /** places: of the examples after each step; colours: one for each example; query: its places
     * after each step, or null. */
    show({ places, colours, query, description }) {
      this.places = places;
      this.query = query;
      this.svg.setAttribute("role", "img");
      this.svg.setAttribute("aria-label", description);
      const last = places.length - 1;
      this.trails.replaceChildren(...colours.map((colour, i) => makeSvg("line", {
        x1: x(places[0][i][0]), y1: y(places[0][i][1]), stroke: colour,
        x2: x(places[last][i][0]), y2: y(places[last][i][1]) })));
      this.dots.replaceChildren(...colours.map((colour) => makeSvg("circle", { r: 4, fill: colour })));
      if (query) this.asked = makeSvg("circle", { r: 6, class: "asked" }, this.dots);
      this.showStep(last);
    }

    showStep(position) {
      if (!this.places) return;
      const last = this.places.length - 1;
      this.places[0].forEach((_, i) => {
        this.move(this.dots.childNodes[i], between((step) => this.places[step][i], position, last));
      });
      if (this.query) {
        this.move(this.asked, between((step) => this.query[step], position, this.query.length - 1));
      }
    }

    move(dot, [across, up]) {
      dot.setAttribute("cx", x(across).toFixed(1));
      dot.setAttribute("cy", y(up).toFixed(1));
    }
  }

  return { DrawingMap };
})();
