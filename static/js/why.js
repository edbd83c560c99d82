/** “Why this model?” of an answer in a dialog; without this module a page shows it. */

/**
 * Open the links of answers in `dialog` and ask again from there.
 *
 * @param {HTMLElement} thread holds the messages
 * @param {HTMLDialogElement} dialog
 * @param {(article: HTMLElement, tier: number) => void} onRedo asks for another answer
 */
export function watchWhy(thread, dialog, onRedo) {
  const place = dialog.querySelector(".why-place");
  let article = null;

  thread.addEventListener("click", (event) => {
    const link = event.target.closest("a.why");
    // With a key held the browser opens the page elsewhere, as for any link.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    article = link.closest(".message");
    show(link.href);
  });
  place.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
    onRedo(article, Number(event.submitter.value));
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside its content
  });

  async function show(href) {
    try {
      const answer = await fetch(href, { headers: { "X-Requested-With": "fetch" } });
      if (!answer.ok || answer.redirected) throw new Error(`${href}: ${answer.status}`);
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      place.replaceChildren(...document.importNode(parsed.body, true).childNodes);
      dialog.showModal();
    } catch {
      location.assign(href);
    }
  }
}
