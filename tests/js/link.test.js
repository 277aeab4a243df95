"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");

require(path.join(__dirname, "constants.js"));
const assets = path.join(__dirname, "../../maml/demo/assets");
const D = globalThis.SketchDocument = require(path.join(assets, "document.js"));
const L = require(path.join(assets, "link.js"));

const PAGE = "https://example.org/pad/?__theme=dark#before";
const fragmentOf = (link) => new URL(link).hash;
const refused = (code) => (error) => error instanceof D.DocumentError && error.record.code === code;

/** Whole numbers below a bound, the same in every run. */
function numbers(seed) {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * bound);
  };
}

/** A pen's way: `points` of them, never twice the same one in a row. */
function stroke(number, points, far = 40) {
  const step = () => number(2 * far + 1) - far;
  const walk = [[number(1001), number(1001)]];
  for (let k = 1; k < points; k += 1) {
    walk.push(walk[k - 1].map((n) => Math.min(1000, Math.max(0, n + step()))));
  }
  return walk;
}

const NAMES = ["Elk", "麋鹿", "🔥", "\u05d0\u05d1", "__proto__", "constructor", "a,b;\"c\"", "x".repeat(500)];

function someDocument(number) {
  const drawing = () => ({ strokes: Array.from({ length: 1 + number(4) },
    () => stroke(number, 1 + number(30))) });
  const symbols = Array.from({ length: 1 + number(8) }, (_, i) => ({ id: i + 1,
    name: NAMES[(i + number(1)) % NAMES.length],
    examples: Array.from({ length: number(4) }, drawing),
    pad: number(2) ? drawing().strokes : [] }));
  symbols[0].pad = drawing().strokes;
  return { version: 1, symbols, query: number(2) ? drawing().strokes : [], picture: null,
    steps: number(2) ? number(21) : null };
}

test("a set survives the way through a link", async () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const doc = someDocument(numbers(seed));
    const { link, pictures } = await L.write(doc, PAGE, Infinity);
    assert.equal(pictures, 0);
    assert.match(link, /^https:\/\/example\.org\/pad\/#set=[A-Za-z0-9_-]+$/);
    if (fragmentOf(link).length <= L.LONGEST) {
      assert.deepEqual(await L.read(fragmentOf(link)), doc);
    }
  }
});

test("a large set is written on a coarser grid, every point close to where it was", async () => {
  const number = numbers(5);
  const drawing = () => ({ strokes: [stroke(number, 120)] });
  const doc = { version: 1, query: [], steps: 5, symbols: Array.from({ length: 5 }, (_, i) =>
    ({ id: i + 1, name: "Symbol " + i, examples: [drawing(), drawing(), drawing()], pad: [] })) };
  const { link: fine } = await L.write(doc, PAGE, Infinity);
  const { link } = await L.write(doc, PAGE, fine.length - 500);
  assert.ok(link.length <= fine.length - 500);
  const back = await L.read(fragmentOf(link));
  assert.deepEqual(back.symbols.map((one) => one.name), doc.symbols.map((one) => one.name));
  back.symbols.forEach((symbol, i) => symbol.examples.forEach(({ strokes: [points] }, k) => {
    const before = doc.symbols[i].examples[k].strokes[0];
    for (const [x, y] of points) {
      assert.ok(before.some(([a, b]) => Math.hypot(x - a, y - b) <= 6), `${x}, ${y}`);
    }
  }));
});

test("what fits on no grid is refused with its length, and so is a set without strokes", async () => {
  const number = numbers(9);
  const drawings = Array.from({ length: 20 }, () => ({ strokes: [stroke(number, 400, 500)] }));
  const doc = { version: 1, query: [], steps: null,
    symbols: [{ id: 1, name: "One", examples: drawings, pad: [] }] };
  await assert.rejects(L.write(doc, PAGE), (error) => refused("link_too_long")(error)
    && error.record.found > error.record.most);
  const blank = D.emptyDocument();
  await assert.rejects(L.write(blank, PAGE), refused("no_strokes"));
  const picture = "data:image/png;base64,iVBORw0KGgo=";
  const shown = D.addPicture(blank, 1, picture);
  await assert.rejects(L.write(shown, PAGE), refused("no_strokes"));
  const both = D.addStroke(shown, 2, [[1, 1], [500, 500]]);
  const { link, pictures } = await L.write(both, PAGE);
  assert.equal(pictures, 1);
  assert.deepEqual((await L.read(fragmentOf(link))).symbols.map(D.drawingCount), [0, 1]);
});

test("another fragment is no set; one that was changed on its way is refused", async () => {
  for (const other of ["", "#", "#top", "#sets=AAAA"]) assert.equal(await L.read(other), null);
  const { link } = await L.write(someDocument(numbers(3)), PAGE);
  const whole = fragmentOf(link);
  const number = numbers(4);
  for (let k = 0; k < 200; k += 1) {
    const at = L.KEY.length + number(whole.length - L.KEY.length - 1);
    const other = whole[at] === "A" ? "B" : "A";
    await assert.rejects(L.read(whole.slice(0, at)), refused("bad_link"), "cut off at " + at);
    await assert.rejects(L.read(whole.slice(0, at) + other + whole.slice(at + 1)),
      refused("bad_link"), "changed at " + at);
  }
  await assert.rejects(L.read(L.KEY + "A".repeat(L.LONGEST)), refused("bad_link"));
});
