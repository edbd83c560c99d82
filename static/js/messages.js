/**
 * The messages of a conversation as elements: those the server rendered, and those that
 * appear while one watches. The markup comes from the page's two templates, so that
 * both kinds look and behave the same.
 */

import { toNodes } from "./markdown.js";
import { readSource } from "./seams.js";
import { showLocalTime } from "./times.js";

const sources = new WeakMap();

/** Remember the Markdown of a message's element. */
export function setSource(article, source) {
  sources.set(article, source);
}

/** Return the Markdown of a message's element. */
export function sourceOf(article) {
  return sources.get(article) ?? "";
}

/** Turn a message that the server rendered as plain text into its full look. */
export function enhance(article) {
  const box = article.querySelector("[data-source]");
  const { source, seams } = readSource(box);
  sources.set(article, source);
  // What a person wrote stands as they wrote it; answers are Markdown.
  if (article.dataset.role !== "user") box.replaceChildren(toNodes(source, seams));
  box.removeAttribute("data-source");
  for (const time of article.querySelectorAll("time")) showLocalTime(time);
  fillRetryChoices(article);
}

/** Offer the composer's choices of model for another try. */
export function fillRetryChoices(article) {
  const select = article.querySelector(".retry-with");
  if (!select) return;
  const route = document.getElementById("route");
  select.replaceChildren(new Option("Retry with…", "", true, true));
  for (const child of route.children) select.append(child.cloneNode(true));
  // The first "" is the heading; as set up is what plain Retry does.
  select.querySelector('optgroup [value=""]')?.remove();
  select.value = "";
}

/** Return a new element for a person's message. */
export function userMessage(text) {
  const article = fromTemplate("message-user");
  article.querySelector("[data-source]").textContent = text;
  article.querySelector("time").dateTime = new Date().toISOString();
  enhance(article);
  return article;
}

/** Take a message and what follows it out of the page and return the elements. */
export function cutFrom(article) {
  const messages = [...article.parentElement.querySelectorAll(".message")];
  const removed = messages.slice(messages.indexOf(article));
  for (const each of removed) each.remove();
  return removed;
}

/** Return a copy of one of the page's templates. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** Scroll as far as needed when somebody opens the details of an answer. */
export function bringDetailsIntoView(root) {
  // The event of a details element does not bubble.
  root.addEventListener("toggle", ({ target }) => {
    if (!target.matches(".info[open]")) return;
    target.querySelector(".facts").scrollIntoView({ block: "nearest" });
  }, true);
}

/** Let a message be the newest version beside an earlier one. */
export function joinSiblings(article, earlier, conversation) {
  const ids = earlier.dataset.siblings.split(",").filter(Boolean);
  if (!ids.length) ids.push(earlier.dataset.id);
  if (!ids.includes(article.dataset.id)) ids.push(article.dataset.id);
  showSiblings(article, ids, conversation);
}

/** Show which of several versions a message is; `ids` are all of them in order. */
function showSiblings(article, ids, conversation) {
  const form = article.querySelector(".siblings");
  const index = ids.indexOf(article.dataset.id);
  article.dataset.siblings = ids.join(",");
  form.hidden = ids.length < 2 || index < 0;
  if (form.hidden) return;
  form.action = `/c/${conversation}/branch`;
  const [previous, next] = form.querySelectorAll("button");
  previous.value = ids[index - 1] ?? "";
  previous.disabled = index === 0;
  next.value = ids[index + 1] ?? "";
  next.disabled = index === ids.length - 1;
  form.querySelector(".sibling-count").textContent = `${index + 1}/${ids.length}`;
}
