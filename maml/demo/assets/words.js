/* The page's words: texts by language and key, with places for values. */
const Words = (() => {
  "use strict";

  /** A function t(key, values) that gives a text in the language that `languageNow()` tells.
   *
   * "{name}" is replaced by values.name, once, as it is.  A value that is a record {code, ...}, or a
   * list of them, is worded first; maml.demo.strings.worded does the same.
   */
  function translator(strings, languageNow) {
    const t = (key, values = {}) => {
      const words = strings[languageNow()] ?? strings.en;
      return (words[key] ?? strings.en[key] ?? key).replace(/\{(\w+)\}/g,
        (whole, name) => (name in values ? filled(values[name]) : whole));
    };
    const filled = (value) => {
      if (Array.isArray(value)) {
        return value.map((one) => t(one.code, one)).join(t("between_places"));
      }
      return value?.code ? t(value.code, value) : String(value);
    };
    return t;
  }

  /** No answer is ever certain: what rounds to 100 or 0 is given as ">99" or "<1". */
  function percent(share) {
    if (share > 0.995) return ">99 %";
    if (share < 0.005) return "<1 %";
    return Math.round(100 * share) + " %";
  }

  return { translator, percent };
})();
if (typeof module !== "undefined") module.exports = Words;
