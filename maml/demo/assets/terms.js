/* Terms that open where they stand: a text, and the line of code that it corresponds to.
 *
 * Any element with `data-term` opens one, whoever made it; in a text "[[key|as it reads]]" makes one.
 */
const Terms = (() => {
  "use strict";

  const { el } = Dom;
  const GAP = 8; // pixels between a term and what it opens

  /** The parts of a text, its terms as elements. */
  function marked(text) {
    return text.split(/(\[\[\w+\|[^\]]+\]\])/).map((part) => {
      const found = part.match(/^\[\[(\w+)\|([^\]]+)\]\]$/);
      return found ? el("a", { class: "maml-term", role: "button", tabindex: "0",
        "aria-haspopup": "dialog", "data-term": found[1] }, found[2]) : part;
    });
  }

  /** Let terms open.
   *
   * t: gives texts; quotations: {file, line, code} by term.
   */
  function install(t, quotations) {
    document.querySelector("#maml-term")?.remove();
    const box = el("div", { id: "maml-term", popover: "auto", role: "dialog", tabindex: "-1" });
    let opener = null;

    function open(node) {
      const term = node.dataset.term;
      const quoted = quotations[term];
      if (!quoted) return;
      opener = node;
      const name = t(`term_${term}`);
      const { file, line, code } = quoted;
      const address = `source/${file}#:~:text=${encodeURIComponent(code).replaceAll("-", "%2D")}`;
      box.setAttribute("aria-label", name);
      box.replaceChildren(el("h2", {}, name), el("p", {}, t(`term_${term}_text`)),
        el("pre", {}, el("code", {}, code)),
        el("p", {}, el("a", { href: address, target: "_blank", rel: "noopener" },
          t("term_code", { file, line }))));
      // In full screen only what is inside is shown.
      (document.fullscreenElement ?? document.body).append(box);
      box.showPopover();
      const at = node.getBoundingClientRect();
      const { width, height } = box.getBoundingClientRect();
      const below = at.bottom + GAP + height < window.innerHeight || at.top < height + GAP;
      const left = Math.min(at.left, window.innerWidth - width - GAP);
      box.style.left = `${Math.max(GAP, left)}px`;
      box.style.top = `${Math.max(GAP, below ? at.bottom + GAP : at.top - GAP - height)}px`;
      box.focus();
    }

    box.addEventListener("toggle", (event) => {
      if (event.newState === "closed" && box.contains(document.activeElement)) opener?.focus();
    });
    const listen = (event) => {
      const node = event.target.closest?.("[data-term]");
      if (!node) return;
      event.preventDefault();
      event.stopPropagation();
      open(node);
    };
    document.addEventListener("click", listen);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") listen(event);
    });
  }

  return { marked, install };
})();
