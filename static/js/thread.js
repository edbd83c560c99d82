/** The messages in the page: fetched again, extended upwards, and brought to life. */

import { enhance } from "./messages.js";

const FETCHED = { "X-Requested-With": "fetch" };
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

  /** Have the server change one message, and show it as it is then. */
  async change(article, path, body) {
    try {
      const answer = await fetch(path, { method: "POST", body, headers: FETCHED });
      if (answer.status === 409) {
        this.#hooks.tell(await answer.text());
        return;
      }
      const [changed] = articlesIn(await nodesOf(answer));
      this.#exchange(article, changed, true);
    } catch {
      this.#hooks.tell("That did not reach the server. Please reload the page.");
    }
  }

  /** Show one message anew that was changed elsewhere, if the page has it. */
  async update(id, path) {
    const article = this.#root.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!article) return;
    try {
      const nodes = await nodesOf(await fetch(path, { headers: FETCHED }));
      const changed = articlesIn(nodes).find(({ dataset }) => dataset.id === id);
      if (changed && signOf(changed) !== signOf(article)) this.#exchange(article, changed);
    } catch {
      // The next refresh shows it.
    }
  }

  #exchange(article, changed, takesFocus = false) {
    changed.classList.remove("found");
    article.replaceWith(changed);
    if (changed.querySelector("[data-source]")) enhance(changed);
    if (takesFocus) changed.querySelector("button")?.focus({ preventScroll: true });
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
  return nodesOf(await fetch(path, { ...options, headers: FETCHED }));
}

async function nodesOf(answer) {
  if (!answer.ok || answer.redirected) throw new Error(`${answer.url}: ${answer.status}`);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return [...document.importNode(parsed.body, true).childNodes];
}

function articlesIn(nodes) {
  return nodes.filter((node) => node.matches?.(".message"));
}

/** Return what differs between two looks of a message: its state and its notes. */
function signOf(article) {
  const notes = [...article.querySelectorAll("[data-note]")].map(({ dataset }) => dataset.note);
  return `${article.dataset.id} ${article.dataset.state} ${notes}`;
}

/** Say whether the messages in the page end with just these, in the same states. */
function endsAlike(root, nodes) {
  const shown = [...root.querySelectorAll(".message")].map(signOf);
  const wanted = articlesIn(nodes).map(signOf);
  // A page may show older messages above; fewer than all mean that some are missing.
  return shown.length >= wanted.length
    && shown.slice(shown.length - wanted.length).join() === wanted.join();
}
