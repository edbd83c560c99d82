/**
 * Where another model went on inside an answer: a quiet divider that names it.
 *
 * The text on both sides is one Markdown source and is rendered as one; a divider is put
 * into the finished nodes, so that a list, a table or a block of code goes on after it
 * as if nothing had happened. It is never part of what is copied.
 */

const INLINE = "a, code, del, em, s, span, strong";

/** Return the divider that says who went on. */
export function seamOf(model) {
  const seam = document.createElement("span");
  seam.className = "seam";
  seam.setAttribute("role", "separator");
  seam.setAttribute("aria-label", `Continued by ${model}`);
  seam.dataset.model = model;
  seam.textContent = `continued by ${model}`;
  return seam;
}

/**
 * Put a divider behind so many characters of the text below `root`.
 *
 * Dividers that stand there already do not count; behind the last character it stands
 * at the end.
 */
export function insertSeam(root, chars, model) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (node) => (
    node.parentElement?.closest(".seam") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT
  ));
  let left = chars;
  let last = null;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (left < node.length) {
      node.splitText(left);
      node.after(seamOf(model));
      return;
    }
    if (left === node.length) {
      outOfInline(node).after(seamOf(model));
      return;
    }
    left -= node.length;
    if (node.data.trim()) last = node;
  }
  if (last) outOfInline(last).after(seamOf(model));
  else root.append(seamOf(model));
}

/** A divider at the very end of a link or of bold text belongs behind it. */
function outOfInline(node) {
  let place = node;
  while (!place.nextSibling && place.parentElement?.matches(INLINE)) place = place.parentElement;
  return place;
}

/**
 * Return the source of a text that the server wrote, and the seams in it.
 *
 * @param {HTMLElement} box plain text with the server's dividers in it
 */
export function readSource(box) {
  let source = "";
  const seams = [];
  for (const node of box.childNodes) {
    if (node.nodeType === Node.ELEMENT_NODE && node.matches(".seam")) {
      seams.push({ at: source.length, model: node.dataset.model });
    } else source += node.textContent;
  }
  return { source, seams };
}

/** Return the text below an element without its dividers. */
export function textWithoutSeams(element) {
  const copy = element.cloneNode(true);
  for (const seam of copy.querySelectorAll(".seam")) seam.remove();
  return copy.textContent;
}
