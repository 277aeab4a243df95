/* Says that the page is there, and finds its trainings again: see maml.demo.train_pulse.
 *
 * Gradio runs this with `element`, `trigger`, `props` and `watch`.
 */
(() => {
  "use strict";

  const { KEY, LINK } = PULSE_CONSTANTS;
  const TAB = "maml-sketchpad.tab"; // where the browser keeps the number of the tab
  const STALE = 8000; // milliseconds without an update after which the page asks for its trainings

  // Storage may be forbidden: then a reload finds nothing.
  function read(storage, key) {
    try {
      return window[storage].getItem(key) ?? "";
    } catch {
      return "";
    }
  }

  function write(storage, key, value) {
    try {
      window[storage].setItem(key, value);
    } catch {
      // as above
    }
  }

  const kept = () => read("localStorage", KEY);

  function keep() {
    if (props.token) write("localStorage", KEY, props.token);
  }

  /** Settings that the address carries; taken in, they leave it. */
  function linked() {
    const { hash, pathname, search } = window.location;
    if (!hash.startsWith(LINK)) return "";
    window.history.replaceState(window.history.state, "", pathname + search);
    return hash.slice(LINK.length);
  }

  const tabs = () => [...document.querySelectorAll("button[role=tab]")];
  const isSelected = (tab) => tab.getAttribute("aria-selected") === "true";

  /** The page opens at the tab where it was reloaded; Gradio does so after a lost connection. */
  function standWhereItStood() {
    const [navigation] = performance.getEntriesByType("navigation");
    if (navigation?.type === "reload") tabs()[read("sessionStorage", TAB)]?.click();
  }

  window.addEventListener("pagehide", () => {
    write("sessionStorage", TAB, String(tabs().findIndex(isSelected)));
  });

  let boardIsSeen = false;
  let wasSeen = false;
  let told = performance.now();
  let ticker = null;

  function arrive(first = false) {
    told = performance.now();
    props.value = { token: props.token || kept(), first, link: first ? linked() : "", at: Date.now() };
    trigger("arrive");
  }

  function speak() {
    if (!navigator.onLine) return;
    if (performance.now() - told > STALE) arrive();
    else if (props.token && props.value?.token !== props.token) {
      props.value = { token: props.token, first: false };
    }
    if (boardIsSeen && document.visibilityState === "visible") trigger("watched");
    else trigger("unwatched");
  }

  /** The clock is a worker's, since browsers slow down the clocks of pages in the background. */
  function beat() {
    if (props.running && !ticker) {
      const source = "setInterval(() => postMessage(0), 1000); postMessage(0);";
      ticker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      ticker.onmessage = speak;
      told = performance.now();
    } else if (!props.running && ticker) {
      ticker.terminate();
      ticker = null;
    }
  }

  document.addEventListener("maml-board", (event) => {
    if (event.detail && !wasSeen) {
      wasSeen = true;
      trigger("seen");
    }
    boardIsSeen = event.detail;
    if (ticker) speak();
  });
  document.addEventListener("visibilitychange", () => {
    if (ticker) speak();
  });

  watch("token", keep);
  watch("running", beat);
  watch("told", () => {
    told = performance.now();
  });
  standWhereItStood();
  arrive(true);
})();
