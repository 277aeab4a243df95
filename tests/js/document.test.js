"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { test } = require("node:test");

require(path.join(__dirname, "constants.js"));
const D = require(path.join(__dirname, "../../maml/demo/assets/document.js"));

const nameOf = (letter) => "Symbol " + letter;
const line = [[100, 100], [900, 900]];
const freeze = (value) => {
  if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
  return value;
};
const start = () => freeze(D.emptyDocument(nameOf));
const refused = (code) => (error) => error instanceof D.DocumentError && error.record.code === code;

test("a new document has two empty symbols with names of their own", () => {
  const doc = start();
  assert.deepEqual(doc.symbols.map((s) => [s.id, s.name]), [[1, "Symbol A"], [2, "Symbol B"]]);
  assert.equal(D.taughtCount(doc), 0);
});

test("a stroke goes to one pad only and leaves the document before it alone", () => {
  const doc = start();
  const drawn = D.addStroke(doc, 2, line);
  assert.deepEqual(drawn.symbols[1].pad, [line]);
  assert.equal(drawn.symbols[0], doc.symbols[0], "untouched symbols are shared");
  assert.deepEqual(doc.symbols[1].pad, []);
  assert.deepEqual(D.addStroke(doc, null, line).query, [line]);
});

test("strokes are cleaned: whole numbers, inside the pad, no needless points, dots kept", () => {
  const raw = [[-20.4, 10.2], [0, 10], [50.4, 10.3], [100, 9.6], [NaN, 3], [1200, 10]];
  assert.deepEqual(D.cleanStroke(raw), [[0, 10], [1000, 10]]);
  assert.deepEqual(D.cleanStroke([[5.5, 7.2]]), [[6, 7]]);
  assert.deepEqual(D.cleanStroke([[1, 1], [1, 1]]), [[1, 1]]);
  assert.deepEqual(D.cleanStroke([]), []);
  const corner = [[0, 0], [500, 0], [500, 500]];
  assert.deepEqual(D.cleanStroke(corner), corner);
});

test("a scribble of thousands of points is thinned, not refused", () => {
  const scribble = Array.from({ length: 5000 }, (_, i) => [(i * 389) % 1000, (i * 577) % 1000]);
  const stroke = D.cleanStroke(scribble);
  assert.ok(stroke.length <= 400 && stroke.length >= 2, String(stroke.length));
  assert.deepEqual(stroke[0], scribble[0]);
});

test("a curve keeps its shape to a few units", () => {
  const circle = Array.from({ length: 200 }, (_, i) => [
    500 + 300 * Math.cos(i / 20), 500 + 300 * Math.sin(i / 20)]);
  const stroke = D.cleanStroke(circle);
  assert.ok(stroke.length < 100);
  const distance = ([px, py], [ax, ay], [bx, by]) => {
    const length2 = (bx - ax) ** 2 + (by - ay) ** 2;
    const along = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / (length2 || 1);
    const t = Math.min(1, Math.max(0, along));
    return Math.hypot(px - ax - t * (bx - ax), py - ay - t * (by - ay));
  };
  for (const point of circle) {
    const nearest = Math.min(...stroke.slice(1).map((end, i) => distance(point, stroke[i], end)));
    assert.ok(nearest < 2.5, `${point} lies ${nearest} from the stroke`);
  }
});

test("a full drawing refuses the next stroke", () => {
  let doc = start();
  for (let i = 0; i < D.LIMITS.strokes; i += 1) doc = D.addStroke(doc, 1, [[i, i]]);
  assert.throws(() => D.addStroke(doc, 1, line), refused("drawing_full"));
});

test("keepPad makes an example of the pad and clears it; an empty pad stays as it is", () => {
  const doc = start();
  assert.equal(D.keepPad(doc, 1), doc);
  const kept = D.keepPad(D.addStroke(doc, 1, line), 1);
  assert.deepEqual(kept.symbols[0].examples, [{ strokes: [line] }]);
  assert.deepEqual(kept.symbols[0].pad, []);
});

test("twenty drawings of a symbol are the most, the pad's included", () => {
  let doc = start();
  for (let i = 0; i < 19; i += 1) doc = D.keepPad(D.addStroke(doc, 1, line), 1);
  doc = D.addStroke(doc, 1, line);
  assert.equal(D.drawingCount(doc.symbols[0]), 20);
  assert.throws(() => D.addPicture(doc, 1, "data:image/png;base64,AAAA"),
    refused("too_many_drawings"));
  doc = D.addStroke(doc, 1, [[1, 1]]); // more strokes of the same drawing
  assert.equal(doc.symbols[0].pad.length, 2);
  doc = D.keepPad(doc, 1);
  assert.throws(() => D.addStroke(doc, 1, line), refused("too_many_drawings"));
});

test("twenty symbols are the most; each gets a free name", () => {
  let doc = start();
  while (doc.symbols.length < 20) doc = D.addSymbol(doc, D.freeName(doc, nameOf));
  assert.equal(doc.symbols[19].name, "Symbol T");
  assert.throws(() => D.addSymbol(doc, "one more"), refused("too_many_symbols"));
  doc = D.removeSymbol(doc, 3);
  assert.equal(D.freeName(doc, nameOf), "Symbol C");
  assert.equal(new Set(D.addSymbol(doc, "x").symbols.map((s) => s.id)).size, 20);
});

test("names are cleaned, kept to 500 characters and made unique", () => {
  const doc = start();
  const name = (given) => D.renameSymbol(doc, 1, given).symbols[0].name;
  assert.equal(name("  a\u0000b\n c "), "a b c");
  assert.equal(name(""), "Symbol A");
  assert.equal(name("Symbol B"), "Symbol B 2");
  assert.equal(Array.from(name("😀".repeat(600))).length, 500);
  assert.equal(name("<img onerror=alert(1)> ${x} {{y}} `z`"), "<img onerror=alert(1)> ${x} {{y}} `z`");
  assert.equal(D.renameSymbol(doc, 1, "Symbol A"), doc);
});

test("symbols move and stay within their row", () => {
  const doc = D.addSymbol(start(), "third");
  const ids = (d) => d.symbols.map((s) => s.id);
  assert.deepEqual(ids(D.moveSymbol(doc, 3, -1)), [1, 3, 2]);
  assert.deepEqual(ids(D.moveSymbol(doc, 1, 9)), [2, 3, 1]);
  assert.equal(D.moveSymbol(doc, 1, -1), doc);
});

test("a question becomes an example of the right symbol, or a symbol of its own", () => {
  const asked = D.addStroke(start(), null, line);
  const taught = D.queryToExample(asked, 2);
  assert.deepEqual(taught.symbols[1].examples, [{ strokes: [line] }]);
  assert.deepEqual(taught.query, []);
  const fresh = D.queryToNewSymbol(asked, "Symbol C");
  assert.deepEqual(fresh.symbols[2].pad, [line]);
  assert.deepEqual(fresh.query, []);
  assert.equal(D.queryToExample(start(), 1).symbols[0].examples.length, 0);
});

test("undo and redo go through everything, removals and clearing included", () => {
  let history = D.newHistory(start());
  const documents = [history.present];
  const apply = (make) => {
    history = D.record(history, make(history.present));
    documents.push(history.present);
  };
  apply((d) => D.addStroke(d, 1, line));
  apply((d) => D.keepPad(d, 1));
  apply((d) => D.renameSymbol(d, 1, "Tree"));
  apply((d) => D.addSymbol(d, "Moon"));
  apply((d) => D.moveSymbol(d, 3, -2));
  apply((d) => D.removeExample(d, 1, 0));
  apply((d) => D.removeSymbol(d, 2));
  apply((d) => D.setSteps(d, 9));
  apply(() => D.emptyDocument(nameOf));
  for (let i = documents.length - 2; i >= 0; i -= 1) {
    history = D.undo(history);
    assert.equal(history.present, documents[i]);
  }
  assert.equal(D.undo(history), history);
  for (let i = 1; i < documents.length; i += 1) {
    history = D.redo(history);
    assert.equal(history.present, documents[i]);
  }
  assert.equal(D.redo(history), history);
  for (let i = documents.length - 2; i >= 0; i -= 1) {
    history = D.undo(history);
    assert.equal(history.present, documents[i], "what was redone can be undone again");
  }
});

test("a change after an undo ends what could be redone; no change is no step", () => {
  let history = D.newHistory(start());
  history = D.record(history, D.addStroke(history.present, 1, line));
  history = D.undo(history);
  assert.equal(D.record(history, history.present), history);
  history = D.record(history, D.addStroke(history.present, 2, line));
  assert.equal(history.future.length, 0);
  for (let i = 0; i < 300; i += 1) {
    history = D.record(history, D.setSteps(history.present, i % 2));
  }
  assert.equal(history.past.length, D.HISTORY);
});

test("a set survives the way through a file: names, order, unicode, strokes, pictures", () => {
  let doc = start();
  doc = D.renameSymbol(doc, 1, "火 🔥 \u05d0\u05d1");
  doc = D.addStroke(doc, 1, line);
  doc = D.keepPad(doc, 1);
  doc = D.addPicture(doc, 2, "data:image/png;base64,iVBORw0KGgo=");
  doc = D.addStroke(doc, 2, [[3, 4]]);
  doc = D.moveSymbol(doc, 2, -1);
  doc = D.setSteps(D.addStroke(doc, null, line), 7);
  const back = D.parse(D.serialise(doc));
  const plain = (d) => ({ ...d, symbols: d.symbols.map(({ id, ...rest }) => rest) });
  assert.deepEqual(plain(back), plain(doc));
  assert.equal(D.serialise(D.parse("\ufeff" + D.serialise(doc))).length, D.serialise(doc).length);
});

test("a file from elsewhere is refused with the reason", () => {
  const sound = JSON.parse(D.serialise(D.addStroke(start(), 1, line)));
  const refuse = (code, spoil) => {
    const value = structuredClone(sound);
    const other = spoil(value);
    assert.throws(() => D.readDocument(other === undefined ? value : other), refused(code));
  };
  assert.throws(() => D.parse("{"), refused("not_json"));
  assert.throws(() => D.parse(" ".repeat(D.LIMITS.file + 1)), refused("too_large"));
  refuse("not_ours", () => null);
  refuse("not_ours", () => []);
  refuse("not_ours", () => ({ hello: "world" }));
  refuse("not_ours", (v) => { v.format = "other"; });
  refuse("wrong_version", (v) => { v.version = 2; });
  refuse("not_a_list", (v) => { v.symbols = {}; });
  refuse("wrong_count", (v) => { v.symbols = Array(21).fill(v.symbols[0]); });
  refuse("bad_name", (v) => { v.symbols[0].name = ""; });
  refuse("bad_name", (v) => { v.symbols[0].name = "x".repeat(501); });
  refuse("bad_name", (v) => { v.symbols[0].name = 7; });
  refuse("same_name", (v) => { v.symbols[1].name = v.symbols[0].name; });
  refuse("wrong_count", (v) => { v.symbols[0].examples = Array(21).fill({ strokes: [line] }); });
  refuse("too_many_drawings", (v) => {
    v.symbols[0].examples = Array(20).fill({ strokes: [line] });
  });
  refuse("bad_drawing", (v) => { v.symbols[0].examples = [3]; });
  refuse("not_a_list", (v) => { v.symbols[0].examples = [{}]; });
  refuse("wrong_count", (v) => { v.symbols[0].examples = [{ strokes: [] }]; });
  refuse("bad_point", (v) => { v.symbols[0].pad = [[[1, 2, 3]]]; });
  refuse("bad_point", (v) => { v.symbols[0].pad = [[[1, 1001]]]; });
  refuse("bad_point", (v) => { v.symbols[0].pad = [[[1, "2"]]]; });
  refuse("bad_point", (v) => { v.symbols[0].pad = [[[0.5, 1]]]; });
  refuse("wrong_count", (v) => { v.query = Array(65).fill([[1, 1]]); });
  refuse("too_many_points", (v) => { v.query = Array(3).fill(Array(1000).fill([1, 1])); });
  refuse("bad_picture", (v) => {
    v.symbols[0].examples = [{ picture: "data:image/svg+xml;base64,AAAA" }];
  });
  refuse("bad_picture", (v) => { v.symbols[0].examples = [{ picture: "javascript:alert(1)" }]; });
  refuse("not_whole", (v) => { v.steps = 21; });
  refuse("not_whole", (v) => { v.steps = "5"; });
});

test("a picture is asked about in place of strokes, and taught like any drawing", () => {
  const picture = "data:image/png;base64,AAAA";
  const drawn = D.addStroke(start(), null, line);
  const asked = freeze(D.askPicture(drawn, picture));
  assert.deepEqual([asked.query, D.queryOf(asked), D.isAsked(asked)], [[], { picture }, true]);
  const taught = D.queryToExample(asked, 2);
  assert.deepEqual(taught.symbols[1].examples, [{ picture }]);
  assert.equal(D.isAsked(taught), false);
  const added = D.queryToNewSymbol(asked, "New");
  assert.deepEqual([added.symbols[2].name, added.symbols[2].examples], ["New", [{ picture }]]);
  assert.equal(D.isAsked(added), false);
  assert.deepEqual(D.queryOf(D.addStroke(asked, null, line)), { strokes: [line] });
  assert.equal(D.isAsked(D.clearPad(asked, null)), false);
  assert.deepEqual(D.parse(D.serialise(asked)), asked);
  assert.ok(!D.serialise(drawn).includes("picture"));
  assert.throws(() => D.askPicture(drawn, "data:text/html,x"), refused("bad_picture"));
  const both = { ...JSON.parse(D.serialise(drawn)), picture };
  assert.deepEqual(D.queryOf(D.readDocument(both)), { strokes: [line] });
});
