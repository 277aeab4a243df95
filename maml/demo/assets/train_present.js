/* "Present": a board that fills the screen, steered by keys. */
const Presenting = (() => {
  "use strict";

  const PLAIN_WIDTH = 1200; // of a window in which a chart's numbers keep their size

  const presentedIn = (root) => root.classList.contains("presenting");

  /** Let a board be presented.
   *
   * root: its element; act: {pause, goOn}; isPaused(): whether it rests.  Returns a function that
   * begins.
   */
  function install(root, act, isPaused) {
    function leave() {
      root.classList.remove("presenting");
      if (document.fullscreenElement) document.exitFullscreen();
    }

    document.addEventListener("fullscreenchange", () => {
      if (!document.fullscreenElement) root.classList.remove("presenting");
    });
    document.addEventListener("keydown", (event) => {
      if (!root.isConnected || !presentedIn(root) || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.target.closest?.("[data-term], [popover]")) return;
      if (event.key === "Escape") leave();
      else if (event.key === " ") (isPaused() ? act.goOn : act.pause)();
      else if (event.key === "ArrowRight") act.goOn();
      else return;
      event.preventDefault();
    }, true);

    return () => {
      root.classList.add("presenting");
      document.activeElement?.blur();
      // Where full screen is not allowed, the board fills the window.
      root.requestFullscreen?.().catch(() => {});
    };
  }

  /** Let a chart fill its place while a board is presented, with numbers that a hall can read.
   *
   * size: {width, height} of its viewBox otherwise; redraw(): shows it again.
   */
  function fitChart(root, chart, { width, height }, redraw) {
    new ResizeObserver(() => {
      const box = chart.svg.getBoundingClientRect();
      const wide = presentedIn(root) && box.height > 0;
      const enlarged = window.innerWidth / PLAIN_WIDTH;
      const [w, h] = wide ? [box.width / enlarged, box.height / enlarged] : [width, height];
      if (Math.abs(chart.options.width - w) + Math.abs(chart.options.height - h) < 1) return;
      chart.resize(w, h);
      redraw();
    }).observe(chart.svg);
  }

  return { install, fitChart };
})();
