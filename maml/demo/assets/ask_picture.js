/* Asking with a picture: from a file, the clipboard, a drag, or a phone's camera. */
const SketchAskPicture = (() => {
  "use strict";

  const { el, set } = Dom;
  const { button } = SketchIcons;

  class AskPicture {
    constructor({ t, actions }) {
      this.actions = actions;
      const chooser = (name, more) => {
        const file = el("input", { type: "file", accept: "image/*", hidden: true, tabindex: "-1",
          "aria-label": name, ...more, onchange: () => {
            this.take([...file.files]);
            file.value = "";
          } });
        return file;
      };
      const file = chooser(t("ask_picture"));
      // A phone opens its camera at once; elsewhere the button is not shown.
      const photo = chooser(t("ask_photo"), { capture: "environment" });
      this.node = el("span", { class: "ask-pictures" },
        button(t("ask_picture"), { glyph: "picture", kind: "icon", onclick: () => file.click() }),
        button(t("ask_photo"), { glyph: "camera", kind: "icon photo", onclick: () => photo.click() }),
        file, photo);
      this.shown = el("img", { class: "asked-picture", alt: t("asked_picture"), hidden: true });
    }

    /** Take pictures that are pasted or dropped onto a part of the page. */
    takeFrom(panel) {
      panel.addEventListener("paste", (event) => {
        if (!this.take([...(event.clipboardData?.files ?? [])])) return;
        event.preventDefault();
        event.stopPropagation();
      });
      panel.addEventListener("dragover", (event) => event.preventDefault());
      panel.addEventListener("drop", (event) => {
        event.preventDefault();
        this.take([...event.dataTransfer.files]);
      });
    }

    /** Ask about the first of these files; whether there is one. */
    take(files) {
      if (files.length) this.actions.askPicture(files[0]);
      return files.length > 0;
    }

    show({ picture }) {
      this.shown.hidden = !picture;
      if (picture) set(this.shown, "src", picture);
    }
  }

  return { AskPicture };
})();
