/** The messages in the page: fetched again, extended upwards, and brought to life. */

import { enhance } from "./messages.js";

const LOAD_OLDER_PX = 400;
const ASK_AGAIN_S = [2, 4, 8, 15, 30];

export class Thread {
  #root;
  #follow;
  #hooks;
  #watcher;
  #askTimer = 0;
  #asked = 0;

  /**
   * @param {HTMLElement} root holds the messages
   * @param {import("./follow.js").Follow} follow
   * @param {object} hooks `path()` returns where the newest messages are to be had, or
   *   nothing when the page shows others; `isBusy()` says whether what is in the page
   *   must stay; `onRunning(article)` meets an answer that is being written; `tell(text)`
   *   shows a note
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
      if (!article.querySelector("[data-source]")) continue;
      enhance(article);
      if (article.dataset.state === "generating") this.#hooks.onRunning(article);
    }
    this.#watchOlder();
  }

  /** Replace all messages by what an address of the server returns. */
  async show(path, options) {
    try {
      this.#replace(await fragmentOf(path, options));
    } catch {
      this.#hooks.tell("The messages could not be loaded. Please reload the page.");
    }
  }

  /**
   * Show what the server has if that is something else. While an answer stands there
   * that nobody writes any more, ask again from time to time how it ended.
   */
  async refresh() {
    clearTimeout(this.#askTimer);
    const path = this.#hooks.path();
    if (!path) return;
    try {
      const nodes = await fragmentOf(path);
      if (!endsAlike(this.#root, nodes)) this.#replace(nodes);
    } catch {
      // The next connection asks again.
    }
    this.#askAgain();
  }

  #askAgain() {
    if (!this.#root.querySelector('[data-state="generating"]:not(.live)')) {
      this.#asked = 0;
      return;
    }
    const delay_s = ASK_AGAIN_S[Math.min(this.#asked, ASK_AGAIN_S.length - 1)];
    this.#asked += 1;
    clearTimeout(this.#askTimer);
    this.#askTimer = setTimeout(() => {
      if (document.hidden) this.#askAgain();
      else this.refresh();
    }, delay_s * 1000);
  }

  #replace(nodes) {
    if (this.#hooks.isBusy()) return;
    this.#root.replaceChildren(...nodes);
    this.wake();
    this.#follow.grown();
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
  return [...document.importNode(parsed.body, true).childNodes];
}

/** Say whether the messages in the page end with just these, in the same states. */
function endsAlike(root, nodes) {
  const signs = (articles) => articles.map(({ dataset }) => `${dataset.id} ${dataset.state}`);
  const shown = signs([...root.querySelectorAll(".message")]);
  const wanted = signs(nodes.filter((node) => node.matches?.(".message")));
  // A page may show older messages above; fewer than all mean that some are missing.
  return shown.length >= wanted.length
    && shown.slice(shown.length - wanted.length).join() === wanted.join();
}
