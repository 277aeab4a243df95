/* The document: symbols, their drawings, the drawing that is asked about. Pure functions, no page.
 *
 *   document := {version: 1, symbols: [symbol...], query: [stroke...], picture: "data:..." or null,
 *                steps: 0..20 or null}; the picture is asked about in place of strokes
 *   symbol   := {id, name, examples: [drawing...], pad: [stroke...]}
 *   drawing  := {strokes: [stroke...]} or {picture: "data:image/png;base64,..."}
 *   stroke   := [[x, y]...], whole numbers from 0 to 1000, x to the right, y downwards
 *
 * Documents are never changed in place: every function returns a new one and shares what stayed
 * the same, so that a history of documents is cheap and a drawing's identity says that it is old.
 */
const SketchDocument = (() => {
  "use strict";

  // The same limits hold on the server, which hands them over.
  const { VERSION, LIMITS, PICTURE } = SKETCH_CONSTANTS.DOCUMENT;
  const PICTURE_URL = new RegExp("^" + PICTURE + "$");
  const SIZE = 1000;
  const HISTORY = 200; // changes that can be undone

  /** A refusal: a code that the page puts into words, and what the words need. */
  class DocumentError extends Error {
    constructor(code, details = {}) {
      super(code + " " + JSON.stringify(details));
      this.name = "DocumentError";
      this.record = { code, ...details };
    }
  }

  // ---- strokes -----------------------------------------------------------------------------

  const clamp = (value) => Math.min(SIZE, Math.max(0, Math.round(value)));

  /** Leave out the points that lie within `tolerance` of the line without them. */
  function simplify(points, tolerance) {
    if (points.length < 3) return points;
    const keep = new Uint8Array(points.length);
    keep[0] = keep[points.length - 1] = 1;
    const spans = [[0, points.length - 1]];
    while (spans.length) {
      const [from, to] = spans.pop();
      const [ax, ay] = points[from];
      const dx = points[to][0] - ax;
      const dy = points[to][1] - ay;
      const length2 = dx * dx + dy * dy;
      let farthest = -1;
      let distance2 = tolerance * tolerance;
      for (let i = from + 1; i < to; i += 1) {
        const px = points[i][0] - ax;
        const py = points[i][1] - ay;
        const along = length2 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
        const ex = px - along * dx;
        const ey = py - along * dy;
        if (ex * ex + ey * ey > distance2) {
          distance2 = ex * ex + ey * ey;
          farthest = i;
        }
      }
      if (farthest >= 0) {
        keep[farthest] = 1;
        spans.push([from, farthest], [farthest, to]);
      }
    }
    return points.filter((_, i) => keep[i]);
  }

  /** Turn raw pen points into a stroke: whole numbers inside the pad, no needless points. */
  function cleanStroke(raw) {
    const points = [];
    for (const [x, y] of raw) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
      const point = [clamp(x), clamp(y)];
      const last = points[points.length - 1];
      if (!last || last[0] !== point[0] || last[1] !== point[1]) points.push(point);
    }
    let stroke = simplify(points, 1.5);
    for (let tolerance = 3; stroke.length > 400; tolerance *= 2) stroke = simplify(points, tolerance);
    return stroke;
  }

  const pointsIn = (strokes) => strokes.reduce((sum, stroke) => sum + stroke.length, 0);

  /** Strokes with one more; says so when a drawing is full. */
  function withStroke(strokes, raw) {
    const stroke = cleanStroke(raw);
    if (!stroke.length) return strokes;
    if (strokes.length >= LIMITS.strokes || pointsIn(strokes) + stroke.length > LIMITS.points) {
      throw new DocumentError("drawing_full", { limit: LIMITS.strokes });
    }
    return [...strokes, stroke];
  }

  // ---- documents ---------------------------------------------------------------------------

  const NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

  function emptyDocument(nameOf = (letter) => "Symbol " + letter) {
    let doc = { version: VERSION, symbols: [], query: [], picture: null, steps: null };
    for (let i = 0; i < 2; i += 1) doc = addSymbol(doc, freeName(doc, nameOf));
    return doc;
  }

  /** The first of "Symbol A", "Symbol B"... that no symbol bears. */
  function freeName(doc, nameOf) {
    const taken = new Set(doc.symbols.map((symbol) => symbol.name));
    for (const letter of NAMES) if (!taken.has(nameOf(letter))) return nameOf(letter);
    return uniqueName(doc, nameOf("A"), null);
  }

  /** A name as it may stand in a document: no control characters, no outer or double space. */
  function cleanName(name) {
    const plain = String(name).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ");
    const kept = Array.from(plain.replace(/\s+/g, " ").trim()).slice(0, LIMITS.name).join("");
    return kept.trim();
  }

  /** `name`, or `name 2`, `name 3`... when another symbol bears it. */
  function uniqueName(doc, name, id) {
    const taken = new Set(doc.symbols.filter((s) => s.id !== id).map((s) => s.name));
    let wanted = name;
    for (let n = 2; taken.has(wanted); n += 1) {
      const tail = " " + n;
      wanted = Array.from(name).slice(0, LIMITS.name - tail.length).join("") + tail;
    }
    return wanted;
  }

  function symbolOf(doc, id) {
    const symbol = doc.symbols.find((s) => s.id === id);
    if (!symbol) throw new DocumentError("no_such_symbol", { id });
    return symbol;
  }

  function replace(doc, id, changes) {
    symbolOf(doc, id);
    const symbols = doc.symbols.map((s) => (s.id === id ? { ...s, ...changes } : s));
    return { ...doc, symbols };
  }

  function addSymbol(doc, name, pad = []) {
    if (doc.symbols.length >= LIMITS.symbols) {
      throw new DocumentError("too_many_symbols", { limit: LIMITS.symbols });
    }
    const id = doc.symbols.reduce((highest, s) => Math.max(highest, s.id), 0) + 1;
    const given = uniqueName(doc, cleanName(name) || "?", null);
    return { ...doc, symbols: [...doc.symbols, { id, name: given, examples: [], pad }] };
  }

  function renameSymbol(doc, id, name) {
    const given = cleanName(name);
    if (!given || given === symbolOf(doc, id).name) return doc;
    return replace(doc, id, { name: uniqueName(doc, given, id) });
  }

  function removeSymbol(doc, id) {
    symbolOf(doc, id);
    return { ...doc, symbols: doc.symbols.filter((s) => s.id !== id) };
  }

  /** Move a symbol `by` places; past either end it stays at the end. */
  function moveSymbol(doc, id, by) {
    const from = doc.symbols.indexOf(symbolOf(doc, id));
    const to = Math.min(doc.symbols.length - 1, Math.max(0, from + by));
    if (from === to) return doc;
    const symbols = doc.symbols.slice();
    symbols.splice(to, 0, symbols.splice(from, 1)[0]);
    return { ...doc, symbols };
  }

  /** A symbol's drawings, the one on its pad last. */
  const drawingsOf = (symbol) =>
    (symbol.pad.length ? [...symbol.examples, { strokes: symbol.pad }] : symbol.examples);

  const drawingCount = (symbol) => symbol.examples.length + (symbol.pad.length ? 1 : 0);

  function requireRoom(symbol, wanted = 1) {
    if (drawingCount(symbol) + wanted > LIMITS.drawings) {
      throw new DocumentError("too_many_drawings", { name: symbol.name, limit: LIMITS.drawings });
    }
  }

  /** Put a stroke on a symbol's pad, or on the query pad when `id` is null. */
  function addStroke(doc, id, raw) {
    if (id === null) {
      const query = withStroke(doc.query, raw);
      return query === doc.query ? doc : { ...doc, query, picture: null };
    }
    const symbol = symbolOf(doc, id);
    if (!symbol.pad.length) requireRoom(symbol);
    const pad = withStroke(symbol.pad, raw);
    return pad === symbol.pad ? doc : replace(doc, id, { pad });
  }

  function clearPad(doc, id) {
    if (id === null) return isAsked(doc) ? { ...doc, query: [], picture: null } : doc;
    return symbolOf(doc, id).pad.length ? replace(doc, id, { pad: [] }) : doc;
  }

  /** Put what stands on a symbol's pad among its examples and clear the pad for the next. */
  function keepPad(doc, id) {
    const symbol = symbolOf(doc, id);
    if (!symbol.pad.length) return doc;
    return replace(doc, id, { examples: [...symbol.examples, { strokes: symbol.pad }], pad: [] });
  }

  function addPicture(doc, id, picture) {
    const symbol = symbolOf(doc, id);
    requireRoom(symbol);
    return replace(doc, id, { examples: [...symbol.examples, readPicture(picture, symbol.name)] });
  }

  /** Ask about a picture, in place of what stood on the query pad. */
  function askPicture(doc, picture) {
    return { ...doc, query: [], ...readPicture(picture, "") };
  }

  /** The drawing that is asked about; null if there is none. */
  function queryOf(doc) {
    if (doc.query.length) return { strokes: doc.query };
    return doc.picture ? { picture: doc.picture } : null;
  }

  function removeExample(doc, id, index) {
    const symbol = symbolOf(doc, id);
    if (!symbol.examples[index]) return doc;
    return replace(doc, id, { examples: symbol.examples.filter((_, i) => i !== index) });
  }

  /** "This is a ...": the drawing that was asked about becomes an example. */
  function queryToExample(doc, id) {
    const symbol = symbolOf(doc, id);
    const drawing = queryOf(doc);
    if (!drawing) return doc;
    requireRoom(symbol);
    return clearPad(replace(doc, id, { examples: [...symbol.examples, drawing] }), null);
  }

  function queryToNewSymbol(doc, name) {
    if (!isAsked(doc)) return doc;
    const added = addSymbol(doc, name, doc.query);
    const { id } = added.symbols[added.symbols.length - 1];
    return clearPad(doc.query.length ? added : addPicture(added, id, doc.picture), null);
  }

  function setSteps(doc, steps) {
    const whole = Math.min(LIMITS.steps, Math.max(0, Math.round(Number(steps) || 0)));
    return whole === doc.steps ? doc : { ...doc, steps: whole };
  }

  const isAsked = (doc) => queryOf(doc) !== null;

  /** How many symbols have a drawing. */
  const taughtCount = (doc) => doc.symbols.filter((s) => drawingCount(s) > 0).length;

  // ---- history -----------------------------------------------------------------------------

  const newHistory = (doc) => ({ past: [], present: doc, future: [] });

  function record(history, doc) {
    if (doc === history.present) return history;
    return {
      past: [...history.past, history.present].slice(-HISTORY),
      present: doc,
      future: [],
    };
  }

  function undo(history) {
    if (!history.past.length) return history;
    return {
      past: history.past.slice(0, -1),
      present: history.past[history.past.length - 1],
      future: [history.present, ...history.future],
    };
  }

  function redo(history) {
    if (!history.future.length) return history;
    return {
      past: [...history.past, history.present],
      present: history.future[0],
      future: history.future.slice(1),
    };
  }

  // ---- in and out --------------------------------------------------------------------------

  const FORMAT = "maml-sketchpad";

  /** The text of a file: the same document gives the same text. */
  function serialise(doc) {
    const { version, symbols, query, steps } = doc;
    const picture = doc.picture ?? undefined; // only where there is one
    return JSON.stringify({ format: FORMAT, version, steps, symbols, query, picture }) + "\n";
  }

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const short = (value) => String(JSON.stringify(value)).slice(0, 40);

  /** A place in a document: its outermost part first, each with a code that is put into words. */
  const at = (where, code, number) => [...where, number === undefined ? { code } : { code, number }];

  function readList(value, where, least, most) {
    if (!Array.isArray(value)) throw new DocumentError("not_a_list", { where, found: short(value) });
    if (value.length < least || value.length > most) {
      throw new DocumentError("wrong_count", { where, found: value.length, least, most });
    }
    return value;
  }

  function readStrokes(value, where, least) {
    const whole = (n) => Number.isInteger(n) && n >= 0 && n <= SIZE;
    const list = readList(value, at(where, "in_strokes"), least, LIMITS.strokes);
    const strokes = list.map((stroke, s) => {
      const here = at(where, "in_stroke", s + 1);
      return readList(stroke, here, 1, LIMITS.points).map((point) => {
        if (!Array.isArray(point) || point.length !== 2 || !point.every(whole)) {
          throw new DocumentError("bad_point", { where: here, most: SIZE, found: short(point) });
        }
        return [point[0], point[1]];
      });
    });
    const found = pointsIn(strokes);
    if (found > LIMITS.points) {
      throw new DocumentError("too_many_points", { where, found, most: LIMITS.points });
    }
    return strokes;
  }

  function readPicture(value, where) {
    if (typeof value !== "string" || value.length > LIMITS.picture || !PICTURE_URL.test(value)) {
      throw new DocumentError("bad_picture", { where });
    }
    return { picture: value };
  }

  function readDrawing(value, where) {
    if (!isObject(value)) throw new DocumentError("bad_drawing", { where, found: short(value) });
    if ("picture" in value) return readPicture(value.picture, where);
    return { strokes: readStrokes(value.strokes, where, 1) };
  }

  function readSymbol(symbol, id) {
    const where = at([], "in_symbol", id);
    if (!isObject(symbol)) throw new DocumentError("bad_drawing", { where, found: short(symbol) });
    const name = typeof symbol.name === "string" ? cleanName(symbol.name) : "";
    if (!name || name !== symbol.name) {
      throw new DocumentError("bad_name", { where, most: LIMITS.name, found: short(symbol.name) });
    }
    const list = readList(symbol.examples, at(where, "in_examples"), 0, LIMITS.drawings);
    const examples = list.map((drawing, n) => readDrawing(drawing, at(where, "in_example", n + 1)));
    const pad = readStrokes(symbol.pad ?? [], at(where, "in_pad"), 0);
    const read = { id, name, examples, pad };
    requireRoom(read, 0);
    return read;
  }

  /** Check a parsed document from elsewhere and copy what belongs to it; refuses with the reason. */
  function readDocument(value) {
    if (!isObject(value) || (value.format !== undefined && value.format !== FORMAT)) {
      throw new DocumentError("not_ours");
    }
    if (typeof value.version !== "number") throw new DocumentError("not_ours");
    if (value.version !== VERSION) {
      throw new DocumentError("wrong_version", { found: value.version, wanted: VERSION });
    }
    const list = readList(value.symbols, at([], "in_symbols"), 0, LIMITS.symbols);
    const symbols = list.map((symbol, i) => readSymbol(symbol, i + 1));
    const names = new Set();
    for (const { id, name } of symbols) {
      if (names.has(name)) {
        throw new DocumentError("same_name", { where: at([], "in_symbol", id), name });
      }
      names.add(name);
    }
    const steps = value.steps ?? null;
    if (steps !== null && !(Number.isInteger(steps) && steps >= 0 && steps <= LIMITS.steps)) {
      throw new DocumentError("not_whole",
        { field: "steps", least: 0, most: LIMITS.steps, found: short(steps) });
    }
    const query = readStrokes(value.query ?? [], at([], "in_query"), 0);
    const asked = value.picture == null || query.length ? { picture: null }
      : readPicture(value.picture, at([], "in_query"));
    return { version: VERSION, symbols, query, ...asked, steps };
  }

  function requireSize(found) {
    if (found > LIMITS.file) throw new DocumentError("too_large", { found, most: LIMITS.file });
  }

  /** Read the text of a file. */
  function parse(text) {
    requireSize(text.length);
    let value;
    try {
      value = JSON.parse(text.replace(/^\ufeff/, ""));
    } catch {
      throw new DocumentError("not_json", { found: short(text) });
    }
    return readDocument(value);
  }

  return {
    VERSION, SIZE, LIMITS, HISTORY, DocumentError,
    simplify, cleanStroke,
    emptyDocument, freeName, cleanName, addSymbol, renameSymbol, removeSymbol, moveSymbol,
    drawingsOf, drawingCount, taughtCount, isAsked, addStroke, clearPad, keepPad, addPicture,
    removeExample, askPicture, queryOf,
    queryToExample, queryToNewSymbol, setSteps,
    newHistory, record, undo, redo,
    serialise, readDocument, requireSize, parse,
  };
})();
if (typeof module !== "undefined") module.exports = SketchDocument;
