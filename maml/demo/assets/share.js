/* Links: the dialog with a link to one's own set, and the one that offers a set from elsewhere. */
const SketchShare = (() => {
  "use strict";

  const { el } = Dom;
  const { button } = SketchIcons;
  const LONGEST_CODE = 1400; // characters; with more, the squares are too small for a camera
  const BORDER = 4; // squares of white around a code, as readers need
  const SMALL = 60; // CSS pixels of a drawing

  /** Open a dialog that is gone once it is closed; resolves to how it was closed. */
  function ask(root, label, ...children) {
    const node = el("dialog", { class: "preview sharing", "aria-label": label },
      el("div", { class: "preview-body" }, el("h2", { text: label }), ...children));
    node.addEventListener("click", (event) => event.target === node && node.close());
    root.append(node);
    const closed = new Promise((done) => {
      node.addEventListener("close", () => {
        node.remove();
        done(node.returnValue);
      });
    });
    node.showModal();
    return { node, closed };
  }

  /** A button that closes its dialog with that value. */
  const choice = (label, value, kind = "") => button(label, { text: label, kind: "wide " + kind,
    onclick: (event) => event.target.closest("dialog").close(value) });

  async function copied(link) {
    try {
      await navigator.clipboard.writeText(link);
      return true;
    } catch {
      return false; // no permission, or a page served without TLS
    }
  }

  /** The QR code of a text, dark on white in both themes. */
  async function code(text, label) {
    const { encodeQR } = await import(SketchServer.address("qr.js"));
    const rows = encodeQR(text, "raw", { ecc: "low", border: BORDER });
    const squares = rows.flatMap((row, y) => row.flatMap((dark, x) =>
      (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
    const svg = makeSvg("svg", { class: "code", role: "img", "aria-label": label,
      viewBox: `0 0 ${rows.length} ${rows.length}`, "shape-rendering": "crispEdges" });
    makeSvg("rect", { width: rows.length, height: rows.length, fill: "#fff" }, svg);
    makeSvg("path", { d: squares.join(""), fill: "#000" }, svg);
    return svg;
  }

  class Share {
    /** actions.openShared(document) is called when the visitor takes an offered set, actions.save()
     * when a file is wanted instead of a link. */
    constructor(root, { t, actions }) {
      Object.assign(this, { root, t, actions });
    }

    /** Copy the link to a document and show it with its code, or offer the file instead. */
    async copy(doc) {
      const { t } = this;
      let made;
      try {
        made = await SketchLink.write(doc, window.location.href);
      } catch (error) {
        return this.offerFile(error);
      }
      const { link, pictures } = made;
      const label = t((await copied(link)) ? "link_copied" : "link_to_copy");
      const field = el("input", { type: "text", class: "link", readonly: true, value: link,
        "aria-label": t("link"), onfocus: () => field.select() });
      const figure = el("figure", {});
      const note = (text) => el("p", { class: "note", text });
      ask(this.root, label, field, note(t("link_note")),
        pictures ? el("p", { text: t("link_without_pictures", { count: pictures }) }) : null, figure,
        choice(t("close"), ""));
      field.focus();
      try {
        const short = await SketchLink.write(doc, window.location.href, LONGEST_CODE);
        figure.append(await code(short.link, t("link_code")),
          el("figcaption", { class: "note", text: t("link_scan") }));
      } catch (error) {
        const large = error instanceof SketchDocument.DocumentError;
        figure.append(note(t(large ? "no_code" : "no_code_now")));
      }
      return undefined;
    }

    async offerFile(error) {
      if (!(error instanceof SketchDocument.DocumentError)) throw error;
      const { t } = this;
      const { closed } = ask(this.root, t("no_link"), el("p", { text: t(error.record.code, error.record) }),
        choice(t("save_set"), "save", "primary"), choice(t("close"), ""));
      if ((await closed) === "save") this.actions.save();
    }

    /** Offer the set of the address's fragment; null if there is none, else whether it was taken.
     * Refuses as `SketchLink.read`. */
    async offer() {
      const { t } = this;
      const { hash } = window.location;
      if (!hash.startsWith(SketchLink.KEY)) return null;
      const forget = () => window.history.replaceState(window.history.state, "",
        window.location.pathname + window.location.search);
      let doc;
      try {
        doc = await SketchLink.read(hash);
      } catch (error) {
        forget();
        throw error;
      }
      const drawings = doc.symbols.reduce((sum, one) => sum + SketchDocument.drawingCount(one), 0);
      const symbols = el("ul", { class: "offered" }, ...doc.symbols.map((symbol) => {
        const drawing = SketchDocument.drawingsOf(symbol)[0];
        const picture = drawing ? el("canvas", { class: "thumb", "aria-hidden": "true" }) : null;
        return el("li", {}, picture, el("span", { text: symbol.name, dir: "auto" }));
      }));
      const { node, closed } = ask(this.root, t("offered"),
        el("p", { text: t("offered_note", { symbols: doc.symbols.length, drawings }) }), symbols,
        choice(t("take_offered"), "take", "primary"), choice(t("leave_offered"), ""));
      const pictures = node.querySelectorAll("canvas.thumb");
      doc.symbols.flatMap((symbol) => SketchDocument.drawingsOf(symbol).slice(0, 1))
        .forEach((drawing, i) => SketchPads.paintThumbnail(pictures[i], drawing, SMALL));
      const taken = (await closed) === "take";
      forget();
      if (taken) this.actions.openShared(doc);
      return taken;
    }
  }

  return { Share };
})();
