/* The road to the server: questions as JSON, past Gradio's events.
 *
 * Of each kind of question one is under way, and the latest of those that came meanwhile waits.  A
 * question that gets no answer (no connection, or a server with too much to do) is asked again until
 * it is answered or a newer one takes its place.
 *
 * A drawing is sent once, with a number of this page's own; then the number stands for it.
 */
const SketchServer = (() => {
  "use strict";

  const LONGEST_WAIT = 5000; // milliseconds between two attempts
  const LONGEST_ANSWER = 20000; // milliseconds until a connection counts as lost

  /** The app's address, which a proxy may have put below a path of its own. */
  function address(name) {
    const root = new URL(window.gradio_config?.root ?? ".", window.location.href);
    if (root.host === window.location.host) root.protocol = window.location.protocol;
    return root.href.replace(/\/$/, "") + "/sketchpad/" + name;
  }

  /** A name for this page that nobody can guess: what the server remembers belongs to it. */
  const visitor = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))))
    .replaceAll("+", "-").replaceAll("/", "_");

  const numbers = new WeakMap(); // strokes or picture -> number
  const known = new Set(); // numbers of the drawings that the server has
  let drawn = 0;

  function numberOf(drawing) {
    const whole = drawing.strokes ?? drawing;
    if (!numbers.has(whole)) numbers.set(whole, (drawn += 1));
    return numbers.get(whole);
  }

  /** The text of a question, and the numbers of the drawings that it brings. */
  function written({ weights, document }) {
    const brought = [];
    const symbols = document.symbols.map(({ id, name, drawings }) => ({ id, name,
      examples: drawings.map((drawing) => {
        const number = numberOf(drawing);
        if (known.has(number)) return { same: number };
        brought.push(number);
        return { ...drawing, id: number };
      }) }));
    const text = JSON.stringify({ visitor, weights, document: { ...document, symbols } });
    return { text, brought };
  }

  async function post(name, question, signal) {
    const { text, brought } = written(question);
    const response = await fetch(address(name), { method: "POST", body: text, signal,
      cache: "no-store", headers: { "Content-Type": "application/json" } });
    if (response.status === 409 && known.size) {
      known.clear();
      return post(name, question, signal);
    }
    return { response, brought };
  }

  /** What a response says went wrong, as coded problems. */
  async function problemsOf(response) {
    try {
      return (await response.json()).problems ?? [{ code: "offline" }];
    } catch {
      return [{ code: "offline" }];
    }
  }

  const sleep = (milliseconds) => new Promise((wake) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      wake();
    }
    window.addEventListener("online", done);
  });

  /** A line of questions to the route `name`.  `onAnswer` gets answers; `onTrouble` gets coded problems, or null when
   * there are none any more.  Without `patient` a question that cannot be answered is dropped. */
  class Line {
    constructor({ onAnswer, onTrouble, patient = true, name = "answer" }) {
      Object.assign(this, { onAnswer, onTrouble, patient, name, next: null, busy: false });
    }

    ask(question) {
      this.next = question;
      if (!this.busy) this.work();
    }

    async work() {
      this.busy = true;
      let failures = 0;
      try {
        while (this.next) {
          const question = this.next;
          this.next = null;
          const { news, problems, again } = await attempt(this.name, question);
          if (!again || !this.patient) {
            if (failures) this.onTrouble(null);
            failures = 0;
            if (news) this.onAnswer(news);
            else if (problems && this.patient) this.onTrouble(problems);
            continue;
          }
          failures += 1;
          if (failures > 1) this.onTrouble(problems);
          await sleep(Math.min(LONGEST_WAIT, 200 * 2 ** failures) * (0.75 + Math.random() / 2));
          this.next ??= question;
        }
      } finally {
        this.busy = false;
      }
    }
  }

  /** One attempt: news (null for a question that has been overtaken), or problems and whether asking
   * `again` may help. */
  async function attempt(name, question) {
    try {
      const signal = AbortSignal.timeout(LONGEST_ANSWER);
      const { response, brought } = await post(name, question, signal);
      if (response.status === 200) {
        const news = await response.json();
        if (!news.waiting) brought.forEach((number) => known.add(number));
        return { news };
      }
      if (response.ok) return { news: null };
      const again = [429, 502, 503, 504].includes(response.status);
      return { problems: await problemsOf(response), again };
    } catch {
      return { problems: [{ code: "offline" }], again: true };
    }
  }

  /** Start a check; `onRecord` gets each record as it comes. */
  async function check(question, onRecord, signal) {
    try {
      const { response } = await post("check", question, signal);
      if (!response.ok) return onRecord({ problems: await problemsOf(response) });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return undefined;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) onRecord(JSON.parse(line));
      }
    } catch {
      return signal.aborted ? undefined : onRecord({ problems: [{ code: "offline" }] });
    }
  }

  /** The adapted network as a file, or the problems. */
  async function exported(question) {
    try {
      const { response } = await post("export", question);
      if (!response.ok) return { problems: await problemsOf(response) };
      return { file: await response.blob() };
    } catch {
      return { problems: [{ code: "offline" }] };
    }
  }

  // A page that comes back from the browser's memory is simply remembered anew.
  window.addEventListener("pagehide", () => navigator.sendBeacon(address("leave"), visitor));

  return { Line, address, check, exported };
})();
