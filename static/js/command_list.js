/**
 * The list of commands that opens when "/" is typed at the start of a message.
 *
 * The text box keeps the focus: arrows move through the list, Enter and Tab take an
 * entry, Esc closes the list, a click takes an entry too. Its entries come from the
 * server as the options of a listbox; readers of the screen follow the one in turn.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/patterns/combobox/ (keys and focus)
 */

const TYPED = /^\/([a-z_-]*)$/i;
/** Keys that act on an open list, and what each does. */
const KEYS = {
  ArrowDown: (list) => list.move(1),
  ArrowUp: (list) => list.move(-1),
  Enter: (list) => list.take(true),
  Tab: (list) => list.take(false),
  Escape: (list) => list.close(),
};

export class CommandList {
  #area;
  #list;
  #put;
  #active = null;

  /**
   * @param {HTMLTextAreaElement} area
   * @param {HTMLElement} list the listbox with all commands
   * @param {(text: string, isWhole: boolean) => void} put takes what was picked;
   *   `isWhole`: it may be sent as it is
   */
  constructor(area, list, put) {
    this.#area = area;
    this.#list = list;
    this.#put = put;
    area.addEventListener("input", () => this.#filter());
    area.addEventListener("blur", () => this.close());
    // Before the box's own keys: Enter on an entry takes that and sends nothing else.
    area.form.addEventListener("keydown", (event) => this.#key(event), true);
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#takeOption(option, true);
    });
  }

  get isOpen() {
    return !this.#list.hidden;
  }

  close() {
    this.#list.hidden = true;
    this.#mark(null);
    return true;
  }

  /** Mark the next entry, or the one before; both ends meet. */
  move(step) {
    const shown = this.#shown;
    const at = shown.indexOf(this.#active);
    this.#mark(shown[(at + step + shown.length) % shown.length]);
    return true;
  }

  /**
   * Take the marked entry. Says whether there was something to take: a name that is
   * typed in full already is for the text box to send.
   */
  take(maySend) {
    const option = this.#active;
    if (maySend && this.#area.value.toLowerCase() === `/${option.dataset.name}`) {
      this.close();
      return false;
    }
    this.#takeOption(option, maySend);
    return true;
  }

  #takeOption(option, maySend) {
    const { name, argument } = option.dataset;
    this.close();
    this.#put(argument === undefined ? `/${name}` : `/${name} `, maySend && argument === undefined);
  }

  get #shown() {
    return [...this.#list.children].filter((option) => !option.hidden);
  }

  #filter() {
    const typed = TYPED.exec(this.#area.value)?.[1].toLowerCase();
    for (const option of this.#list.children) {
      option.hidden = typed === undefined || !option.dataset.name.startsWith(typed);
    }
    const shown = this.#shown;
    this.#list.hidden = !shown.length;
    if (!shown.includes(this.#active)) this.#mark(shown[0] ?? null);
  }

  #mark(option) {
    this.#active?.setAttribute("aria-selected", "false");
    this.#active = option;
    if (!option) {
      this.#area.removeAttribute("aria-activedescendant");
      return;
    }
    option.setAttribute("aria-selected", "true");
    this.#area.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    // keyCode 229: an input method that does not report isComposing takes this key.
    if (!this.isOpen || event.isComposing || event.keyCode === 229) return;
    if (event.target !== this.#area || event.shiftKey || event.altKey || event.ctrlKey) return;
    if (KEYS[event.key]?.(this)) event.preventDefault();
  }
}
