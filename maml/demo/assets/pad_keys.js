/* Drawing with the keyboard: arrow keys move the pen over a pad, space puts it down and lifts it. */
const SketchPadKeys = (() => {
  "use strict";

  const { SIZE } = SketchDocument;
  const STEP = SIZE / 50; // 2 %
  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  class PadKeys {
    /** pad: a `Pad`; its options.onKeys(pen) is told "ready", "down", "up" or "away". */
    constructor(pad) {
      this.pad = pad;
      this.at = [SIZE / 2, SIZE / 2];
      this.pen = Dom.el("span", { class: "pen", hidden: true, "aria-hidden": "true" });
      const { canvas } = pad;
      canvas.tabIndex = 0;
      canvas.addEventListener("focus", () => {
        if (canvas.matches(":focus-visible")) this.begin();
      });
      canvas.addEventListener("blur", () => this.end());
      canvas.addEventListener("keydown", (event) => this.key(event));
    }

    begin() {
      if (!this.pen.hidden) return;
      this.pad.canvas.after(this.pen);
      this.pen.hidden = false;
      this.showPen();
      this.tell("ready");
    }

    end() {
      if (this.pen.hidden) return;
      this.lift();
      this.pen.hidden = true;
      this.tell("away");
    }

    key(event) {
      const way = WAYS[event.key];
      const undo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if (undo && this.isDown) this.drop(); // what stands in the document is undone by the page
      else if (plain && way) this.move(way);
      else if (plain && event.key === " ") this.toggle(event);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    toggle(event) {
      if (event.repeat) return;
      this.begin();
      if (this.isDown) this.lift();
      else {
        this.isDown = true;
        this.tell("down");
        this.draw();
      }
      this.showPen();
    }

    move(way) {
      this.begin();
      this.at = this.at.map((value, i) => Math.min(SIZE, Math.max(0, value + STEP * way[i])));
      if (this.isDown) this.draw();
      this.showPen();
    }

    draw() {
      const { pad } = this;
      pad.extend(this.at);
      pad.repaint();
      if (pad.points) pad.options.onLive?.(pad.points);
    }

    /** End the stroke. */
    lift() {
      if (!this.isDown) return;
      this.isDown = false;
      this.pad.finish();
      this.pad.repaint();
      this.tell("up");
    }

    /** Take the unfinished stroke back. */
    drop() {
      this.isDown = false;
      this.pad.points = null;
      this.pad.options.onLive?.(null);
      this.pad.repaint();
      this.showPen();
      this.tell("up");
    }

    tell(pen) {
      this.pad.options.onKeys?.(pen);
    }

    showPen() {
      this.pen.classList.toggle("down", Boolean(this.isDown));
      this.pen.style.left = (100 * this.at[0]) / SIZE + "%";
      this.pen.style.top = (100 * this.at[1]) / SIZE + "%";
    }
  }

  return { PadKeys };
})();
