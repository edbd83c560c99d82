/** “Why this model?” of an answer in a dialog; without this module a page shows it. */

/**
 * Open the links of answers in `dialog` and ask again from there.
 *
 * @param {HTMLElement} thread holds the messages
 * @param {HTMLDialogElement} dialog
 * @param {object} hooks `whyNot()` returns why there is no other try at the moment, else
 *   nothing; `redo(article, tier)` asks for another answer
 */
export function watchWhy(thread, dialog, hooks) {
  const place = dialog.querySelector(".why-place");
  /** Counts what was asked for: an earlier panel that comes late is not shown. */
  let asked = 0;

  thread.addEventListener("click", (event) => {
    const link = event.target.closest("a.why");
    // With a key held the browser opens the page elsewhere, as for any link.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.href);
  });
  place.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target;
    // The thread may have been fetched again meanwhile; the id stays the same.
    const id = CSS.escape(form.dataset.message);
    const article = thread.querySelector(`.answer[data-id="${id}"]`);
    const refusal = hooks.whyNot()
      || (article ? "" : "This answer is not in the shown part of the chat any more.");
    if (refusal) {
      say(form, refusal);
      return;
    }
    dialog.close();
    hooks.redo(article, Number(event.submitter.value));
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside its content
  });

  async function show(href) {
    asked += 1;
    const number = asked;
    try {
      const answer = await fetch(href, { headers: { "X-Requested-With": "fetch" } });
      if (!answer.ok || answer.redirected) throw new Error(`${href}: ${answer.status}`);
      const text = await answer.text();
      if (number !== asked) return;
      const parsed = new DOMParser().parseFromString(text, "text/html");
      place.replaceChildren(...document.importNode(parsed.body, true).childNodes);
      dialog.showModal();
    } catch {
      if (number === asked) location.assign(href);
    }
  }
}

/** Show under the buttons why they do nothing now. */
function say(form, text) {
  const line = form.querySelector(".why-refusal");
  line.textContent = text;
  line.hidden = false;
}
