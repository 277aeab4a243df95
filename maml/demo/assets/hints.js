/* The first minute: one hint at a time, each gone for good once it is done or sent away. */
const SketchHints = (() => {
  "use strict";

  const { taughtCount, isAsked } = SketchDocument;
  const KEY = "hints";

  /** The hint for a document: the key of its words, or null.
   *
   * `given` is a question that the visitor did not draw: that of an example set.
   */
  function hintFor(doc, given) {
    const taught = taughtCount(doc);
    if (taught < 2) return taught ? "hint_second" : "hint_first";
    if (isAsked(doc) && doc.query !== given) return null;
    return isAsked(doc) ? "hint_yourself" : "hint_ask";
  }

  class Hints {
    constructor() {
      this.done = SketchStorage.kept(KEY) === "done";
    }

    /** The hint to show now; the last one is done when the visitor has asked. */
    hint(doc, given) {
      if (this.done) return null;
      const hint = hintFor(doc, given);
      if (hint === null) this.finish();
      return hint;
    }

    finish() {
      this.done = true;
      SketchStorage.keep(KEY, "done");
    }
  }

  return { Hints, hintFor };
})();
if (typeof module !== "undefined") module.exports = SketchHints;
