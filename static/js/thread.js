/** The messages in the page: fetched again, extended upwards, and brought to life. */

import { enhance } from "./messages.js";

const LOAD_OLDER_PX = 400;

export class Thread {
  #root;
  #follow;
  #hooks;
  #watcher;

  /**
   * @param {HTMLElement} root holds the messages
   * @param {import("./follow.js").Follow} follow
   * @param {object} hooks `liveArticle(id)` returns the element of an answer that is
   *   followed already; `onRunning(article)` meets an answer that is being written;
   *   `tell(text)` shows a note
   */
  constructor(root, follow, hooks) {
    this.#root = root;
    this.#follow = follow;
    this.#hooks = hooks;
    this.#watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.showOlder();
    }, { root: root.parentElement, rootMargin: `${LOAD_OLDER_PX}px 0px 0px 0px` });
  }

  /** Give messages that the server rendered their behaviour. */
  wake() {
    for (const article of this.#root.querySelectorAll(".message")) {
      const live = this.#hooks.liveArticle(article.dataset.id);
      if (live) {
        article.replaceWith(live);
      } else if (article.querySelector("[data-source]")) {
        enhance(article);
        if (article.dataset.state === "generating") this.#hooks.onRunning(article);
      }
    }
    this.#watchOlder();
  }

  /** Replace all messages by what an address of the server returns. */
  async show(path, options) {
    try {
      this.#root.replaceChildren(...await fragmentOf(path, options));
      this.wake();
      this.#follow.grown();
    } catch {
      this.#hooks.tell("The messages could not be loaded. Please reload the page.");
    }
  }

  /** Put the messages before the first one above it, without moving what is in view. */
  async showOlder() {
    const link = document.getElementById("older");
    if (!link || "loading" in link.dataset) return;
    link.dataset.loading = "";
    this.#watcher.disconnect();
    try {
      const older = document.createDocumentFragment();
      older.append(...await fragmentOf(link.dataset.fragment));
      older.querySelector(".newer")?.remove();
      for (const article of older.querySelectorAll(".message")) enhance(article);
      this.#follow.keepingPlace(() => link.replaceWith(older));
      this.#watchOlder();
    } catch {
      delete link.dataset.loading;
      this.#hooks.tell("Older messages could not be loaded.");
    }
  }

  #watchOlder() {
    this.#watcher.disconnect();
    const link = document.getElementById("older");
    if (link) this.#watcher.observe(link);
  }
}

/** Fetch messages as nodes; they come from our own templates with all text escaped. */
async function fragmentOf(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { "X-Requested-With": "fetch" } });
  if (!answer.ok || answer.redirected) throw new Error(`${path}: ${answer.status}`);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return document.importNode(parsed.body, true).childNodes;
}
