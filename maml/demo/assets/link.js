/* A set of symbols as a link: all of it stands in the address's fragment, which no server sees.
 *
 *   link     := address "#set=" base64url(zlib(bytes))
 *   bytes    := VERSION grid (steps + 1, or 0) count symbol... strokes   (the last are the question)
 *   symbol   := length name-in-UTF-8 count drawing...  strokes           (the last are the pad)
 *   drawing  := strokes
 *   strokes  := count (count (dx dy)...)...
 *
 * All numbers are LEB128; dx and dy, zigzag and in steps of `grid`, lead from one point to the next,
 * and from (0, 0) to the first of a drawing.  What does not fit is written on a coarser grid.  zlib's
 * checksum finds a link that was cut off or changed on its way.
 */
const SketchLink = (() => {
  "use strict";

  const D = SketchDocument;
  const VERSION = 1;
  const LATER = 31; // versions that may come; beyond, it is no link of ours
  const KEY = "#set=";
  const LONGEST = 8000; // characters of a whole link
  const MOST_BYTES = 65536; // unpacked: what a short link may unpack to
  const GRIDS = [1, 2, 4, 8]; // units of a pad that is 1000 wide; the network sees 28 x 28

  // ---- bytes -------------------------------------------------------------------------------

  class Writer {
    constructor(grid) {
      this.grid = grid;
      this.bytes = [];
    }

    number(value) {
      let rest = value;
      for (; rest > 127; rest >>>= 7) this.bytes.push((rest & 127) | 128);
      this.bytes.push(rest);
    }

    step(value) {
      this.number(value < 0 ? -2 * value - 1 : 2 * value);
    }

    text(value) {
      const encoded = new TextEncoder().encode(value);
      this.number(encoded.length);
      this.bytes.push(...encoded);
    }

    strokes(strokes) {
      this.number(strokes.length);
      let [x0, y0] = [0, 0];
      for (const stroke of strokes) {
        const points = coarser(stroke, this.grid);
        this.number(points.length);
        for (const [x, y] of points) {
          this.step(x - x0);
          this.step(y - y0);
          [x0, y0] = [x, y];
        }
      }
    }
  }

  /** A stroke's points in steps of the grid. */
  function coarser(stroke, grid) {
    if (grid === 1) return stroke;
    const points = D.simplify(stroke, grid).map((point) => point.map((n) => Math.round(n / grid)));
    return points.filter(([x, y], i) => !i || x !== points[i - 1][0] || y !== points[i - 1][1]);
  }

  const damaged = () => new D.DocumentError("bad_link");

  class Reader {
    constructor(bytes) {
      this.bytes = bytes;
      this.place = 0;
    }

    byte() {
      if (this.place >= this.bytes.length) throw damaged();
      return this.bytes[this.place++];
    }

    number() {
      let value = 0;
      for (let shift = 0; shift < 28; shift += 7) {
        const byte = this.byte();
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
      }
      throw damaged();
    }

    step() {
      const value = this.number();
      return value & 1 ? -(value + 1) / 2 : value / 2;
    }

    text() {
      const length = this.number();
      if (length > this.bytes.length - this.place) throw damaged();
      const part = this.bytes.subarray(this.place, this.place + length);
      this.place += length;
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(part);
      } catch {
        throw damaged();
      }
    }

    /** As many things as the next number says.  Each takes a byte at least, so lies end soon. */
    list(read) {
      const count = this.number();
      if (count > this.bytes.length - this.place) throw damaged();
      return Array.from({ length: count }, read);
    }

    strokes(grid) {
      let [x, y] = [0, 0];
      return this.list(() => this.list(() => {
        x += this.step();
        y += this.step();
        return [x * grid, y * grid];
      }));
    }
  }

  /** All bytes that come through a stream; refuses more than `most`. */
  async function through(stream, bytes, most) {
    const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
    const parts = [];
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > most) {
        await reader.cancel();
        throw damaged();
      }
      parts.push(value);
    }
    const whole = new Uint8Array(size);
    let place = 0;
    for (const part of parts) {
      whole.set(part, place);
      place += part.length;
    }
    return whole;
  }

  const toText = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  function toBytes(text) {
    if (!/^[A-Za-z0-9_-]+$/.test(text)) throw damaged();
    try {
      return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")),
        (one) => one.charCodeAt(0));
    } catch {
      throw damaged();
    }
  }

  // ---- links -------------------------------------------------------------------------------

  function written({ symbols, query, steps }, grid) {
    const writer = new Writer(grid);
    for (const value of [VERSION, grid, steps === null ? 0 : steps + 1, symbols.length]) {
      writer.number(value);
    }
    for (const { name, examples, pad } of symbols) {
      writer.text(name);
      writer.number(examples.length);
      for (const { strokes } of examples) writer.strokes(strokes);
      writer.strokes(pad);
    }
    writer.strokes(query);
    return Uint8Array.from(writer.bytes);
  }

  function readBytes(bytes) {
    const reader = new Reader(bytes);
    const found = reader.number();
    if (found > VERSION && found <= LATER) throw new D.DocumentError("newer_link");
    if (found !== VERSION) throw damaged();
    const grid = reader.number();
    if (!GRIDS.includes(grid)) throw damaged();
    const steps = reader.number();
    const symbols = reader.list(() => ({
      name: reader.text(),
      examples: reader.list(() => ({ strokes: reader.strokes(grid) })),
      pad: reader.strokes(grid),
    }));
    const query = reader.strokes(grid);
    if (reader.place !== bytes.length) throw damaged();
    return D.readDocument({ version: D.VERSION, symbols, query, steps: steps ? steps - 1 : null });
  }

  /** A document without its pictures, and how many those are. */
  function withoutPictures(doc) {
    const symbols = doc.symbols.map((symbol) => ({ ...symbol,
      examples: symbol.examples.filter((drawing) => drawing.strokes) }));
    const count = (one) => one.reduce((sum, symbol) => sum + symbol.examples.length, 0);
    const pictures = count(doc.symbols) - count(symbols) + (doc.picture ? 1 : 0);
    return { drawn: { ...doc, symbols, picture: null }, pictures };
  }

  /** The link to a document on the page at `address`, on the finest grid that fits into `most`
   * characters.
   *
   * Resolves to {link, pictures}: the number of pictures, which a link cannot hold.  Refuses a
   * document that fits on no grid, and one without strokes.
   */
  async function write(doc, address, most = LONGEST) {
    const { drawn, pictures } = withoutPictures(doc);
    if (!D.taughtCount(drawn)) throw new D.DocumentError("no_strokes");
    const page = new URL(address);
    page.search = page.hash = "";
    let link;
    for (const grid of GRIDS) {
      const bytes = written(drawn, grid);
      link = page.href + KEY + toText(await through(new CompressionStream("deflate"), bytes, Infinity));
      if (link.length <= most && bytes.length <= MOST_BYTES) return { link, pictures };
    }
    throw new D.DocumentError("link_too_long", { most, found: link.length });
  }

  /** The document of an address's fragment: null if there is none.  Refuses what it cannot read. */
  async function read(fragment) {
    if (!fragment.startsWith(KEY)) return null;
    if (fragment.length > LONGEST) throw damaged();
    const packed = toBytes(fragment.slice(KEY.length));
    let bytes;
    try {
      bytes = await through(new DecompressionStream("deflate"), packed, MOST_BYTES);
    } catch {
      throw damaged();
    }
    return readBytes(bytes);
  }

  return { KEY, LONGEST, GRIDS, write, read };
})();
if (typeof module !== "undefined") module.exports = SketchLink;
