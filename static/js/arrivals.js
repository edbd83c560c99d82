/**
 * Answers that somebody else began: another tab or device of the person, or a bot's room.
 *
 * They are fetched with the message that they answer. While an answer is being written
 * here nothing in the page may be replaced, so what comes meanwhile is fetched after it.
 */

export class Arrivals {
  #thread;
  #hooks;
  #missed = "";

  /**
   * @param {HTMLElement} thread holds the messages
   * @param {object} hooks `isBusy()` says whether an answer is being written here,
   *   `refresh()` fetches the messages, `announce(article)` tells of an answer that
   *   had ended before it could be followed
   */
  constructor(thread, hooks) {
    this.#thread = thread;
    this.#hooks = hooks;
  }

  /** A turn of this conversation has begun somewhere, perhaps in this very tab. */
  async came(turn) {
    if (this.#find(turn)) return;
    if (this.#hooks.isBusy()) {
      this.#missed = turn;
      return;
    }
    await this.#hooks.refresh();
    const article = this.#find(turn);
    if (article && article.dataset.state !== "generating") this.#hooks.announce(article);
  }

  /** Nothing is being written here any more. */
  async idle() {
    const turn = this.#missed;
    this.#missed = "";
    if (turn) await this.came(turn);
  }

  #find(turn) {
    return this.#thread.querySelector(`[data-id="${CSS.escape(turn)}"]`);
  }
}
