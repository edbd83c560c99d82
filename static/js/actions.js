/** The buttons of messages: copy, ask again, edit, delete, other versions, older ones. */

import { copy } from "./clipboard.js";
import { routeOf } from "./composer.js";
import { openEditor } from "./editor.js";
import { sourceOf } from "./messages.js";
import { textWithoutSeams } from "./seams.js";

const AS_SET_UP = { model: null, tier: null };

/**
 * Act on what is pressed inside `thread`.
 *
 * @param {HTMLElement} thread holds the messages
 * @param {object} hooks `isBusy()`, `send(text)`, `retry(article, route)`,
 *   `edit(article, text)`, `conversation()` returns the id of the one that is shown,
 *   `messages` is the page's `Thread`
 */
export function watchActions(thread, hooks) {
  thread.addEventListener("click", (event) => {
    const opener = event.target.closest(".opener");
    if (opener) {
      hooks.send(opener.dataset.text);
      return;
    }
    const older = event.target.closest("#older");
    if (older) {
      event.preventDefault();
      hooks.messages.showOlder();
      return;
    }
    const button = event.target.closest("[data-action]");
    const article = button?.closest(".message");
    if (article) act(button, article);
  });

  function act(button, article) {
    const { action } = button.dataset;
    if (action === "copy") copy(button, sourceOf(article));
    else if (action === "copy-code") {
      copy(button, textWithoutSeams(button.closest(".code-frame").querySelector("code")));
    } else if (action === "retry") hooks.retry(article, AS_SET_UP);
    else if (action === "edit" && !hooks.isBusy()) openEditor(article, hooks.edit);
  }

  thread.addEventListener("change", (event) => {
    const select = event.target.closest(".retry-with");
    if (!select?.value) return;
    const route = routeOf(select.value);
    select.value = "";
    hooks.retry(select.closest(".message"), route);
  });

  thread.addEventListener("submit", (event) => {
    const form = event.target.closest(".siblings, .message-form");
    if (!form) return;
    event.preventDefault();
    const body = new FormData(form, event.submitter);
    if (form.matches(".message-form")) {
      const article = form.closest(".message");
      if (article.dataset.id) hooks.messages.change(article, pathOf(form, article, hooks.conversation()), body);
      return;
    }
    if (hooks.isBusy()) return;
    hooks.messages.show(form.action, { method: "POST", body });
  });
}

/** Return where a form of a message leads; one that came while one watched knows none. */
function pathOf(form, article, conversation) {
  return form.getAttribute("action")
    ?? `/c/${conversation}/messages/${article.dataset.id}/${form.dataset.act}`;
}
