/* Plays the inner steps: calls back with positions from step 0 to the last one, fractions included. */
const SketchReplay = (() => {
  "use strict";

  const ALIKE = 0.4; // of the time, shared out evenly among the steps

  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  class Replay {
    constructor(show) {
      this.show = show;
    }

    /** Go through `steps` steps in that many milliseconds, at a `pace` as `pacedBy` makes it; at once
     * for who wants no motion. */
    start(steps, milliseconds, pace) {
      this.stop();
      if (still.matches || !steps) {
        this.show(steps, true);
        return;
      }
      const began = performance.now();
      const next = (now) => {
        const share = Math.min(1, Math.max(0, (now - began) / milliseconds));
        this.frame = share < 1 ? requestAnimationFrame(next) : 0;
        this.show(share === 1 ? steps : pace(share), share === 1);
      };
      this.show(0, false);
      this.frame = requestAnimationFrame(next);
    }

    stop() {
      cancelAnimationFrame(this.frame);
      this.frame = 0;
    }
  }

  /** A pace: the position after a share of the time.
   *
   * A step takes time as it changes something, with a part for each alike: of steps of which the
   * first does nearly all, one sees that it does.
   */
  function pacedBy(changes) {
    const total = changes.reduce((sum, change) => sum + change, 0);
    const alike = total > 0 ? ALIKE : 1;
    const times = changes.map((change) =>
      alike / changes.length + (total > 0 ? (1 - alike) * change / total : 0));
    return (share) => {
      let rest = share;
      let step = 0;
      while (step < times.length - 1 && rest > times[step]) rest -= times[step++];
      return step + Math.min(1, rest / times[step]);
    };
  }

  /** Between two steps: `row(step)` gives what is known at a step, a list of numbers. */
  function between(row, position, last) {
    const low = Math.min(Math.floor(position), last);
    const high = Math.min(low + 1, last);
    const share = position - low;
    return row(low).map((value, i) => value + (row(high)[i] - value) * share);
  }

  return { Replay, pacedBy, between };
})();
if (typeof module !== "undefined") module.exports = SketchReplay;
