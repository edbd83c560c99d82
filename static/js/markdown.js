/**
 * Markdown of people and models → safe nodes of the page.
 *
 * The one way by which foreign text becomes elements: markdown-it (raw HTML escaped),
 * highlight.js inside it, and DOMPurify after both, with a list of what may stay.
 * Pictures become links and are never loaded. Everything interactive (copy buttons) is
 * added afterwards, as elements of our own.
 *
 * Source: https://github.com/cure53/DOMPurify#readme,
 * https://markdown-it.github.io/markdown-it/
 */

import MarkdownIt from "../vendor/markdown-it/markdown-it.esm.min.mjs";
import DOMPurify from "../vendor/dompurify/purify.es.mjs";
import hljs from "../vendor/highlight/highlight.min.js";
import { insertSeam } from "./seams.js";

const LIVE_HIGHLIGHT_CHARS = 6_000;
const HIGHLIGHT_CHARS = 60_000;
const SAFE_LINK = /^(?:https?:|mailto:)/i;
const SAFE_CLASS = /^(?:hljs(?:-[\w-]+)?|language-[\w+#.-]{1,30}|align-(?:left|center|right)|task(?:-done|-open)?|image-link|function_|class_|inherited__)$/;

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th",
    "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "rel", "target", "role", "aria-label"],
  ALLOWED_URI_REGEXP: SAFE_LINK,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  FORBID_ATTR: ["style", "id", "name"],
  KEEP_CONTENT: true,
  RETURN_DOM_FRAGMENT: true,
};

const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.hasAttribute?.("class")) {
    const kept = [...node.classList].filter((name) => SAFE_CLASS.test(name));
    if (kept.length) node.className = kept.join(" ");
    else node.removeAttribute("class");
  }
  if (node.tagName !== "A") return;
  if (!SAFE_LINK.test(node.getAttribute("href") ?? "")) {
    node.removeAttribute("href");
    node.removeAttribute("target");
    return;
  }
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

const markdown = new MarkdownIt({ html: false, linkify: true, highlight: highlighted });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.renderer.rules.image = pictureAsLink;
for (const rule of ["th_open", "td_open"]) markdown.renderer.rules[rule] = alignedCell;
markdown.core.ruler.after("inline", "tasks", markTasks);

let highlightLimit = HIGHLIGHT_CHARS;

function highlighted(code, language) {
  if (!hljs.getLanguage(language) || code.length > highlightLimit) return "";
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

/** A picture is shown as a link with its description; nothing is requested. */
function pictureAsLink(tokens, index, options, env, self) {
  const token = tokens[index];
  const source = token.attrGet("src") ?? "";
  const text = self.renderInlineAsText(token.children ?? [], options, env) || source;
  const label = markdown.utils.escapeHtml(text || "picture");
  if (!SAFE_LINK.test(source) || isInsideLink(tokens, index)) return label;
  const href = markdown.utils.escapeHtml(source);
  return `<a class="image-link" href="${href}">${label}</a>`;
}

function isInsideLink(tokens, index) {
  let depth = 0;
  for (const token of tokens.slice(0, index)) {
    if (token.type === "link_open") depth += 1;
    else if (token.type === "link_close") depth -= 1;
  }
  return depth > 0;
}

/** Alignment as a class, because the content policy allows no style attribute. */
function alignedCell(tokens, index, options, env, self) {
  const token = tokens[index];
  const style = token.attrGet("style");
  if (style) {
    token.attrs = token.attrs.filter(([name]) => name !== "style");
    token.attrJoin("class", `align-${style.split(":")[1].trim()}`);
  }
  return self.renderToken(tokens, index, options);
}

/** `- [x] done` and `- [ ] open` become boxes that a reader hears, too. */
function markTasks(state) {
  const { tokens } = state;
  for (let index = 2; index < tokens.length; index += 1) {
    const token = tokens[index];
    const isFirst = tokens[index - 1].type === "paragraph_open"
      && tokens[index - 2].type === "list_item_open";
    const box = isFirst && token.type === "inline" && /^\[([ xX])\]\s/.exec(token.content);
    const first = box && token.children[0];
    if (!first || first.type !== "text") continue;
    const done = box[1] !== " ";
    first.content = first.content.slice(3);
    const mark = new state.Token("html_inline", "", 0);
    mark.content = done
      ? '<span class="task-done" role="img" aria-label="done: "></span>'
      : '<span class="task-open" role="img" aria-label="open: "></span>';
    token.children.unshift(mark);
    tokens[index - 2].attrJoin("class", "task");
  }
}

/**
 * Return safe nodes for a whole text.
 *
 * @param {string} source Markdown
 * @param {{at: number, model: string}[]} [seams] where another model went on: `at`
 *   counts the characters of the source before it
 * @returns {DocumentFragment}
 */
export function toNodes(source, seams = []) {
  const env = {};
  const fragment = purifier.sanitize(markdown.render(source, env), ALLOWED);
  for (const { at, model } of seams) {
    insertSeam(fragment, shownChars(source.slice(0, at), env), model);
  }
  decorate(fragment);
  return fragment;
}

/** Return how many characters of text are shown for the beginning of a source. */
function shownChars(beginning, { references }) {
  const env = references ? { references } : {};
  return purifier.sanitize(markdown.render(beginning, env), ALLOWED)
    .textContent.trimEnd().length;
}

/** The same for a block that is still growing: long code stays plain until its end. */
function toLiveNodes(source, seams) {
  highlightLimit = LIVE_HIGHLIGHT_CHARS;
  try {
    return toNodes(source, seams);
  } finally {
    highlightLimit = HIGHLIGHT_CHARS;
  }
}

/** Add what is ours: code frames with copy buttons, tables that scroll by themselves. */
function decorate(fragment) {
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table-frame";
    frame.tabIndex = 0;
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
}

function frameCode(pre) {
  const code = pre.querySelector("code");
  const language = [...(code?.classList ?? [])]
    .find((name) => name.startsWith("language-"))?.slice("language-".length) ?? "";
  const frame = document.createElement("figure");
  frame.className = "code-frame";
  const head = document.createElement("figcaption");
  const label = document.createElement("span");
  label.textContent = language || "text";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "code-copy";
  copy.dataset.action = "copy-code";
  copy.textContent = "Copy";
  copy.setAttribute("aria-label", `Copy the ${language || "text"} block`);
  head.append(label, copy);
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  frame.append(head, pre);
}

/**
 * Shows a growing text. All blocks but the last are final and stay in the page as they
 * are; each update renders the last block alone, at most once an animation frame.
 */
export class GrowingText {
  #box;
  #source = "";
  #settledChars = 0;
  #openNodes = [];
  #frame = 0;
  #endsInReturn = false;
  #seams = [];
  /** Who was asked to go on and has written nothing yet. */
  #asked = "";
  #onRender;

  /**
   * @param {HTMLElement} box what to fill; its content is replaced on the first render
   * @param {() => void} onRender called after each change of the page
   */
  constructor(box, onRender = () => {}) {
    this.#box = box;
    this.#onRender = onRender;
  }

  get source() {
    return this.#source;
  }

  /** Another model was asked to go on: its divider comes with its first word. */
  addSeam(model) {
    this.#asked = model;
  }

  /** Add text at the end. */
  append(text) {
    if (text) {
      if (this.#asked && this.#source) {
        this.#seams.push({ at: this.#source.length, model: this.#asked });
      }
      this.#asked = "";
      // A line end of two characters may come in two pieces.
      const rest = this.#endsInReturn ? text.replace(/^\n/, "") : text;
      this.#endsInReturn = text.endsWith("\r");
      this.#source += rest.replace(/\r\n?/g, "\n");
    }
    this.#frame ||= requestAnimationFrame(() => this.#render(toLiveNodes));
  }

  /** Render what is left and return the whole source. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    // A definition at the end may give links to blocks that were settled before.
    if (/^ {0,3}\[[^\]]+\]:/m.test(this.#source)) {
      this.#box.replaceChildren(toNodes(this.#source, this.#seams));
    } else {
      this.#render(toNodes);
    }
    return this.#source;
  }

  #render(nodesOf) {
    this.#frame = 0;
    if (this.#settledChars === 0 && this.#openNodes.length === 0) {
      this.#box.replaceChildren();
    }
    const tail = this.#source.slice(this.#settledChars);
    const cut = lastBlockStart(tail);
    for (const node of this.#openNodes) node.remove();
    if (cut > 0) {
      this.#box.append(toNodes(tail.slice(0, cut), this.#seamsUpTo(cut)));
      this.#settledChars += cut;
    }
    const open = nodesOf(tail.slice(cut), this.#seamsUpTo(Infinity));
    this.#openNodes = [...open.childNodes];
    this.#box.append(open);
    this.#onRender();
  }

  /** Return the seams of the next `chars` unsettled characters, counted from there. */
  #seamsUpTo(chars) {
    return this.#seams
      .map(({ at, model }) => ({ at: at - this.#settledChars, model }))
      .filter(({ at }) => at > 0 && at <= chars);
  }
}

/** Return the offset at which the last top-level block of a text begins. */
function lastBlockStart(source) {
  const tokens = [];
  // Block structure alone: inline content is parsed when the block is rendered.
  markdown.block.parse(source, markdown, {}, tokens);
  let line = 0;
  for (const token of tokens) {
    if (token.level === 0 && token.nesting >= 0 && token.map) [line] = token.map;
  }
  let offset = 0;
  for (; line > 0; line -= 1) offset = source.indexOf("\n", offset) + 1;
  return offset;
}
