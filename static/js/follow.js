/**
 * Keeps the end of the conversation in view while it grows, unless the reader left it.
 *
 * Following ends with any scroll upwards and begins again within 80 px of the end, or
 * by the "jump to latest" button, which marks that there is something new.
 */

const NEAR_PX = 80;

export class Follow {
  #scroller;
  #jump;
  #following = true;
  #lastTop = 0;
  #lastHeight = 0;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} jump the button
   */
  constructor(scroller, jump) {
    this.#scroller = scroller;
    this.#jump = jump;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => { if (this.#following) this.#toEndNow(); }).observe(scroller);
  }

  /** Say that the content grew. */
  grown() {
    if (this.#following) this.#toEndNow();
    else this.#jump.classList.add("unread");
    this.#show();
  }

  /** Go to the end and follow from now on. */
  toEnd() {
    this.#following = true;
    this.#toEndNow();
    this.#show();
  }

  /** Begin at the one message that one came for, if any, else at the end. */
  begin(article) {
    if (!article) {
      this.toEnd();
      return null;
    }
    this.#following = false;
    article.tabIndex = -1;
    article.focus({ preventScroll: true });
    article.scrollIntoView({ block: "center" });
    this.#show();
    return article;
  }

  /** Change the content above the view without moving what is in view. */
  keepingPlace(change) {
    const { scrollHeight, scrollTop } = this.#scroller;
    change();
    const top = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    this.#lastTop = top;
    this.#scroller.scrollTop = top;
  }

  #toEndNow() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
    this.#lastHeight = this.#scroller.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const shrank = scrollHeight < this.#lastHeight;
    if (scrollTop < this.#lastTop - 1 && !shrank) this.#following = false;
    else if (scrollHeight - clientHeight - scrollTop <= NEAR_PX) this.#following = true;
    this.#lastTop = scrollTop;
    this.#lastHeight = scrollHeight;
    this.#show();
  }

  #show() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const away = scrollHeight - clientHeight - scrollTop > NEAR_PX;
    this.#jump.hidden = this.#following || !away;
    if (this.#jump.hidden) this.#jump.classList.remove("unread");
  }
}
