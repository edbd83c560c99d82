/** Changing one's own message in its place; Mod+Enter saves, Esc leaves it as it was. */

import { sourceOf } from "./messages.js";

/**
 * Open the editor of a message. Saving leaves it open: an accepted text takes the place
 * of the whole message, and one that was refused is still there.
 *
 * @param {HTMLElement} article
 * @param {(article: HTMLElement, text: string) => void} onSave called with the new text
 */
export function openEditor(article, onSave) {
  if (article.querySelector(".editor")) return;
  const bubble = article.querySelector(".bubble");
  const form = document.getElementById("editor").content.firstElementChild.cloneNode(true);
  const area = form.querySelector("textarea");
  area.value = sourceOf(article);

  function close() {
    form.remove();
    bubble.hidden = false;
    article.querySelector('[data-action="edit"]').focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim()) onSave(article, area.value);
    else close();
  });
  form.querySelector('[type="button"]').addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      form.requestSubmit();
    }
  });
  bubble.hidden = true;
  bubble.after(form);
  area.focus();
}
