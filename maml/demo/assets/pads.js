/* Pads: canvases to draw on, and the small pictures of drawings. */
const SketchPads = (() => {
  "use strict";

  const { SIZE } = SketchDocument;
  let penSeen = false; // from then on a touch is a palm
  let drawingNow = null; // one stroke at a time on the whole page
  let awake = null; // the pad with strokes on it that a finger goes on drawing on
  const TAP = 10; // CSS pixels that a finger may move in a tap

  /** A colour of the page; a canvas that is not on it yet has none of its own. */
  function colour(canvas, name) {
    const element = canvas.isConnected ? canvas : document.querySelector(".maml-sketchpad");
    return getComputedStyle(element).getPropertyValue(name).trim();
  }

  /** Trace strokes; a stroke of one point is a dot. */
  function traceStrokes(context, strokes, side) {
    const scale = side / SIZE;
    for (const stroke of strokes) {
      context.beginPath();
      const [x0, y0] = stroke[0];
      context.moveTo(x0 * scale, y0 * scale);
      if (stroke.length === 1) context.lineTo(x0 * scale + 0.01, y0 * scale);
      // Straight from point to point, as the network's ink is drawn: a bend would round off corners.
      for (const [x, y] of stroke.slice(1)) context.lineTo(x * scale, y * scale);
      context.stroke();
    }
  }

  /** Bring a canvas to the pixels it covers on the screen; returns its side in those pixels. */
  function fit(canvas, cssSide) {
    const side = Math.max(1, Math.round(cssSide * Math.min(3, window.devicePixelRatio || 1)));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    return side;
  }

  function paint(canvas, strokes, side, width = 0.035) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = Math.max(1, side * width);
    context.strokeStyle = colour(canvas, "--pad-ink");
    traceStrokes(context, strokes, side);
  }

  /** A small picture of a drawing. */
  function paintThumbnail(canvas, drawing, cssSide) {
    const side = fit(canvas, cssSide);
    if (drawing.strokes) {
      paint(canvas, drawing.strokes, side, 0.055);
      return;
    }
    const picture = new Image();
    picture.onload = () => {
      const context = canvas.getContext("2d");
      const scale = Math.min(side / picture.width, side / picture.height);
      const width = picture.width * scale;
      const height = picture.height * scale;
      context.clearRect(0, 0, side, side);
      context.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
    };
    picture.src = drawing.picture;
  }

  /** The 28 x 28 picture that the network sees; `ink` is base64 of 784 bytes, or null. */
  function paintInk(canvas, ink) {
    canvas.width = canvas.height = 28;
    canvas.dataset.seen = ink ? "yes" : "no";
    if (!ink) return;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(28, 28);
    const bytes = atob(ink);
    for (let i = 0; i < 784; i += 1) {
      const value = bytes.charCodeAt(i);
      picture.data[4 * i] = picture.data[4 * i + 1] = picture.data[4 * i + 2] = value;
      picture.data[4 * i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  }

  /** A canvas to draw on.
   *
   * options.onStroke(points) gets each finished stroke, in units of the document; options.onLive
   * (points) gets the unfinished one as it grows.  A stroke that leaves the pad ends at its edge,
   * and a new one begins where the pen comes back.
   *
   * With options.rests, a pad with strokes on it soon rests: a finger that moves over it scrolls the
   * page, and a tap wakes it.  Mouse and pen always draw, and so do the keys, see pad_keys.js.
   */
  class Pad {
    constructor(canvas, options) {
      this.canvas = canvas;
      this.options = options;
      this.strokes = [];
      this.points = null;
      this.pointer = null;
      const listen = (type, handler) => canvas.addEventListener(type, handler.bind(this));
      listen("pointerdown", this.down);
      listen("pointermove", this.move);
      listen("pointerup", this.up);
      listen("pointercancel", this.up);
      listen("lostpointercapture", this.up);
      canvas.addEventListener("contextmenu", (event) => event.preventDefault());
      canvas.addEventListener("touchstart", (event) => {
        if (!this.resting) event.preventDefault();
      }, { passive: false });
      this.keys = new SketchPadKeys.PadKeys(this);
      this.resizing = new ResizeObserver(() => this.repaint());
      this.resizing.observe(canvas);
    }

    forget() {
      this.resizing.disconnect();
      clearTimeout(this.restSoon);
      if (drawingNow === this) drawingNow = null;
      if (awake === this) awake = null;
    }

    show(strokes) {
      if (strokes === this.strokes && !this.points) return;
      this.strokes = strokes;
      this.repaint();
    }

    get resting() {
      return Boolean(this.options.rests) && this.strokes.length > 0 && awake !== this;
    }

    wake() {
      const before = awake;
      awake = this;
      if (before !== this) before?.showRest();
      this.showRest();
      this.restLater();
    }

    rest() {
      if (awake !== this) return;
      awake = null;
      this.showRest();
    }

    restLater() {
      clearTimeout(this.restSoon);
      const rest = () => (this.points ? this.restLater() : this.rest());
      this.restSoon = setTimeout(rest, SketchTimes.rest);
    }

    showRest() {
      const drawn = this.options.rests && awake === this ? "awake" : "drawn";
      const empty = !this.strokes.length && !this.points;
      this.canvas.dataset.pad = empty ? "empty" : this.resting ? "resting" : drawn;
    }

    repaint() {
      const side = fit(this.canvas, this.canvas.clientWidth);
      paint(this.canvas, this.points ? [...this.strokes, this.points] : this.strokes, side);
      this.painted = this.points ? this.points.length : 0;
      this.showRest();
    }

    /** Where an event is, in units of the document; the pad stays put while a stroke is drawn. */
    place(event) {
      const box = this.box;
      return [
        ((event.clientX - box.left) / box.width) * SIZE,
        ((event.clientY - box.top) / box.height) * SIZE,
      ];
    }

    /** Paint what the growing stroke gained since it was last painted. */
    paintEnd() {
      if (!this.points) return;
      const from = Math.max(0, Math.min(this.painted, this.points.length) - 1);
      traceStrokes(this.canvas.getContext("2d"), [this.points.slice(from)], this.canvas.width);
      this.painted = this.points.length;
    }

    down(event) {
      if (event.pointerType === "mouse" && event.button !== 0) return;
      if (event.pointerType === "pen" && !penSeen) {
        penSeen = true;
        document.documentElement.classList.add("pen-seen"); // a pen never scrolls the page
      }
      if (event.pointerType === "touch" && penSeen) return;
      if (event.pointerType === "touch" && this.resting) {
        this.tap = { pointer: event.pointerId, x: event.clientX, y: event.clientY };
        return;
      }
      if (drawingNow) {
        if (event.pointerType !== "pen" || drawingNow.kind !== "touch") return;
        drawingNow.abandon(); // the palm came down before the pen
      }
      event.preventDefault();
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      this.canvas.setPointerCapture(event.pointerId);
      this.box = this.canvas.getBoundingClientRect();
      this.pointer = event.pointerId;
      this.kind = event.pointerType;
      drawingNow = this;
      if (this.options.rests) this.wake();
      this.extend(this.place(event));
      this.repaint();
      this.options.onLive?.(this.points);
    }

    move(event) {
      if (event.pointerId !== this.pointer) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) this.extend(this.place(one));
      this.paintEnd();
      if (this.points) this.options.onLive?.(this.points);
    }

    extend([x, y]) {
      const inside = x >= 0 && x <= SIZE && y >= 0 && y <= SIZE;
      if (inside) {
        if (!this.points) {
          this.points = this.before ? [edge([x, y], this.before)] : [];
          this.painted = 0;
        }
        const last = this.points[this.points.length - 1];
        if (!last || Math.hypot(x - last[0], y - last[1]) >= 2) this.points.push([x, y]);
        if (this.points.length >= 1500) {
          this.finish(); // a stroke without end goes on as the next one
          this.points = [[x, y]];
          this.painted = 0;
        }
      } else if (this.points) {
        this.points.push(edge(this.points[this.points.length - 1], [x, y]));
        this.finish();
      }
      this.before = inside ? null : [x, y];
    }

    finish() {
      const points = this.points;
      this.points = null;
      if (points && points.length) this.options.onStroke(points);
    }

    up(event) {
      const { tap } = this;
      this.tap = null;
      if (tap?.pointer === event.pointerId && event.type === "pointerup" &&
          Math.hypot(event.clientX - tap.x, event.clientY - tap.y) < TAP) {
        this.wake();
        return;
      }
      if (event.pointerId !== this.pointer) return;
      if (this.options.rests) this.restLater();
      this.pointer = this.before = null;
      if (drawingNow === this) drawingNow = null;
      this.finish();
      this.repaint();
    }

    abandon() {
      this.pointer = this.before = this.points = null;
      drawingNow = null;
      this.repaint();
    }
  }

  // Whoever touches the page elsewhere has done with the pad.
  document.addEventListener("pointerdown", (event) => {
    if (awake && event.target !== awake.canvas) awake.rest();
  }, true);

  /** Where the way from a point inside the pad to one outside crosses the pad's edge. */
  function edge([ix, iy], [ox, oy]) {
    let share = 1;
    for (const [from, to] of [[ix, ox], [iy, oy]]) {
      if (to < 0) share = Math.min(share, from / (from - to));
      if (to > SIZE) share = Math.min(share, (SIZE - from) / (to - from));
    }
    return [ix + share * (ox - ix), iy + share * (oy - iy)];
  }

  return { Pad, paintThumbnail, paintInk, edge };
})();
if (typeof module !== "undefined") module.exports = SketchPads;
