"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");

globalThis.window = { matchMedia: () => ({ matches: false }) };
const { pacedBy } = require(path.join(__dirname, "../../maml/demo/assets/replay.js"));

const close = (found, wanted) => assert.ok(Math.abs(found - wanted) < 1e-9, `${found}, ${wanted}`);

test("steps that change alike take the same time, and so do steps that change nothing", () => {
  for (const changes of [[2, 2, 2, 2], [0, 0, 0, 0]]) {
    const pace = pacedBy(changes);
    for (const share of [0, 0.1, 0.5, 0.99, 1]) close(pace(share), 4 * share);
  }
});

test("a first step that does all takes most of the time, the others still some", () => {
  const pace = pacedBy([1.6, 0, 0, 0, 0]);
  close(pace(0), 0);
  close(pace(0.34), 0.5);
  close(pace(0.68), 1);
  close(pace(0.76), 2);
  close(pace(1), 5);
});
