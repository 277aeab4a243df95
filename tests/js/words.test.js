"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");

const Words = require(path.join(__dirname, "../../maml/demo/assets/words.js"));

const strings = {
  en: { hello: "Hello {name}, {name}", only: "only English", at: "{where}: {reason}",
    in_symbol: "symbol {number}", in_pad: "pad", blank: "blank", between_places: ", " },
  zh: { hello: "{name} 你好" },
};

test("values are put in once, as they are", () => {
  const t = Words.translator(strings, () => "en");
  assert.equal(t("hello", { name: "$& {name}" }), "Hello $& {name}, $& {name}");
  assert.equal(t("hello"), "Hello {name}, {name}");
  assert.equal(t("no such key"), "no such key");
});

test("the language is asked for each time, English is the fallback", () => {
  let language = "zh";
  const t = Words.translator(strings, () => language);
  assert.equal(t("hello", { name: "A" }), "A 你好");
  assert.equal(t("only"), "only English");
  language = "xx";
  assert.equal(t("hello", { name: "A" }), "Hello A, A");
});

test("records and lists of them are worded first", () => {
  const t = Words.translator(strings, () => "en");
  const where = [{ code: "in_symbol", number: 2 }, { code: "in_pad" }];
  assert.equal(t("at", { where, reason: { code: "blank" } }), "symbol 2, pad: blank");
});

test("no answer is certain", () => {
  const shown = [0, 0.004, 0.006, 0.5, 0.994, 0.996, 1].map(Words.percent);
  assert.deepEqual(shown, ["<1 %", "<1 %", "1 %", "50 %", "99 %", ">99 %", ">99 %"]);
});
