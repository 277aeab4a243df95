/* Elements of the page, for both tabs. */

/** Make an element of an SVG picture, in `parent` if one is given. */
function makeSvg(name, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.appendChild(node);
  return node;
}

const Dom = (() => {
  "use strict";

  /** Make an element.
   *
   * attributes: by name; "text" is its text, "onclick" and the like are listeners; null, undefined
   * and false leave an attribute out.  What a person typed goes through here as text or as an
   * attribute, never as HTML.
   */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "text") node.textContent = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  /** Set an attribute if it differs: writing one costs a layout even when it stays the same. */
  const set = (node, key, value) => {
    if (node.getAttribute(key) !== value) node.setAttribute(key, value);
  };

  /** Set an element's text if it differs. */
  const say = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  /** Give an element's accessible name to its tooltip too. */
  const label = (node, text) => {
    set(node, "aria-label", text);
    set(node, "title", text);
  };

  /** Put a style sheet into the page, once. */
  function addStyle(id, css) {
    if (document.getElementById(id)) return;
    const style = el("style", { id });
    style.textContent = css;
    document.head.append(style);
  }

  /** Call back with an element of another part of the page, as soon as it is there. */
  function whenThere(selector, callback) {
    const node = document.querySelector(selector);
    if (node) callback(node);
    else requestAnimationFrame(() => whenThere(selector, callback));
  }

  return { el, set, say, label, addStyle, whenThere };
})();
