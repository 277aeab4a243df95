/* Plays the inner steps: calls back with positions from step 0 to the last one, fractions included. */
const SketchReplay = (() => {
  "use strict";

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  class Replay {
    constructor(show) {
      this.show = show;
    }

    /** Go through `steps` steps in that many milliseconds; at once for who wants no motion. */
    start(steps, milliseconds) {
      this.stop();
      if (still.matches || !steps) {
        this.show(steps, true);
        return;
      }
      const began = performance.now();
      const next = (now) => {
        const share = Math.min(1, Math.max(0, (now - began) / milliseconds));
        this.frame = share < 1 ? requestAnimationFrame(next) : 0;
        this.show(share * steps, share === 1);
      };
      this.show(0, false);
      this.frame = requestAnimationFrame(next);
    }

    stop() {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
    }
  }

  /** Between two steps: `row(step)` gives what is known at a step, a list of numbers. */
  function between(row, position, last) {
    const low = Math.min(Math.floor(position), last);
    const high = Math.min(low + 1, last);
    const share = position - low;
    return row(low).map((value, i) => value + (row(high)[i] - value) * share);
  }

  return { Replay, between };
})();
