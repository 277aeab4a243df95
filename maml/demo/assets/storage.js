/* What is kept in this browser, and what goes to files and comes from pictures. */
const SketchStorage = (() => {
  "use strict";

  const KEY = "maml-sketchpad.document.v1";
  const LANGUAGE = "maml-sketchpad.language";
  const OTHER = "maml-sketchpad.";
  const PICTURE_SIDE = 128;

  /** Storage may be forbidden or full; the page goes on without it and says so. */
  function write(key, text) {
    try {
      window.localStorage.setItem(key, text);
      return true;
    } catch {
      return false;
    }
  }

  function read(key) {
    try {
      return window.localStorage.getItem(key);
    } catch {
      return null;
    }
  }

  const keepDocument = (doc) => write(KEY, SketchDocument.serialise(doc));

  /** The kept document; null when there is none or it cannot be read any more. */
  function keptDocument() {
    const text = read(KEY);
    if (!text) return null;
    try {
      return SketchDocument.parse(text);
    } catch {
      return null;
    }
  }

  function offerFile(name, blob) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** Shrink a picture file so that it fits into the document; resolves to a data URL. */
  async function shrinkPicture(file) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new SketchDocument.DocumentError("bad_picture", { where: file.name || "picture" });
    }
    // Step by step, halving: thin lines survive that better than one great leap.
    let { width, height } = bitmap;
    let source = bitmap;
    const target = PICTURE_SIDE / Math.max(width, height);
    let scale = Math.min(1, target);
    do {
      const step = Math.max(scale, 0.5);
      width = Math.max(1, Math.round(width * step));
      height = Math.max(1, Math.round(height * step));
      scale /= step;
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(source, 0, 0, width, height);
      source = canvas;
    } while (scale < 0.999);
    const lossless = source.toDataURL("image/png");
    if (lossless.length <= SketchDocument.LIMITS.picture) return lossless;
    return source.toDataURL("image/webp", 0.8);
  }

  return {
    keepDocument, keptDocument, offerFile, shrinkPicture,
    keepLanguage: (language) => write(LANGUAGE, language),
    keptLanguage: () => read(LANGUAGE),
    keep: (name, text) => write(OTHER + name, text),
    kept: (name) => read(OTHER + name),
  };
})();
