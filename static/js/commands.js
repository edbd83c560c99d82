/**
 * Commands such as /new: sent like messages, answered with a note, never part of a chat.
 *
 * The server decides what a command is and does (channels_app/slash_commands.py); the
 * page only has to know one when it sees it, because a command waits for no answer and
 * is never shown as a message.
 */

import { CommandList } from "./command_list.js";

const WORD = /^\/([a-z][a-z_-]{0,31})(?=\s|$)/i;
const NOTE_PREFIX = "cortex:note:";

/**
 * Return the name of the command that a text is, `unknown` for a lone word that is none,
 * and nothing for a message.
 *
 * @param {string} text
 * @param {Set<string>} names of all commands
 */
export function commandIn(text, names) {
  const trimmed = text.trim();
  const [typed, word] = WORD.exec(trimmed) ?? [];
  if (!word) return "";
  if (names.has(word.toLowerCase())) return word.toLowerCase();
  return trimmed.length === typed.length ? "unknown" : "";
}

/** Every command given on this page, from the key to the note. */
export class Commands {
  #turns;
  #composer;
  #page;
  #names;
  /** Client id → the text of a command that is not answered yet. */
  #given = new Map();

  /**
   * @param {import("./turns.js").Turns} turns
   * @param {import("./composer.js").Composer} composer
   * @param {object} page `form` holds the text box and the list, `owner` is the
   *   person's id, `here()` returns persona and conversation for a frame, `show(text, choices)`
   *   shows a note, `takeBack(id)` removes a message that turned out to be a command, `go(path)` leaves for another page, `stopBegun()` stops what the
   *   server does not know of yet
   */
  constructor(turns, composer, page) {
    this.#turns = turns;
    this.#composer = composer;
    this.#page = page;
    const list = page.form.querySelector("[role=listbox]");
    this.#names = new Set([...list.children].map((option) => option.dataset.name));
    new CommandList(page.form.querySelector("textarea"), list, (text, isWhole) => {
      composer.text = text;
      if (isWhole) this.take(text);
    });
    turns.addEventListener("command", ({ detail: frame }) => this.#answered(frame));
  }

  /** Send a text if it is a command, and say whether it is. */
  take(text) {
    const name = commandIn(text, this.#names);
    if (!name) return false;
    if (name === "stop") this.#page.stopBegun();
    if (this.#composer.text === text) this.#composer.text = "";
    const frame = { type: "message.send", ...this.#page.here(), text };
    this.#given.set(this.#turns.begin(frame), text);
    this.#composer.focus();
    return true;
  }

  /** Give back a command that the server refused; says whether it was one. */
  refused({ client_id }) {
    const text = this.#given.get(client_id);
    if (text === undefined) return false;
    this.#given.delete(client_id);
    this.#giveBack(text);
    return true;
  }

  /** Show what a command said that led to this page. */
  welcome() {
    const key = NOTE_PREFIX + this.#page.owner;
    try {
      const text = sessionStorage.getItem(key);
      sessionStorage.removeItem(key);
      if (text) this.#page.show(text);
    } catch {
      // Storage is switched off, so nothing was left.
    }
  }

  #answered(frame) {
    const text = this.#given.get(frame.client_id);
    this.#given.delete(frame.client_id);
    // Plain words may be one too, which only the server knows.
    if (text === undefined) this.#page.takeBack(frame.client_id);
    if (frame.route !== null) this.#composer.chooseRoute(frame.route);
    if (frame.conversation) this.#leave(`/c/${frame.conversation}`, frame.text);
    else if (frame.persona) {
      this.#leave(`/?persona=${encodeURIComponent(frame.persona)}`, frame.text);
    } else this.#page.show(frame.text, frame.choices);
    if (frame.command === "unknown" && text) this.#giveBack(text);
  }

  #giveBack(text) {
    if (!this.#composer.text) this.#composer.text = text;
  }

  #leave(path, text) {
    try {
      sessionStorage.setItem(NOTE_PREFIX + this.#page.owner, text);
    } catch {
      // The page that comes says enough by itself.
    }
    this.#page.go(path);
  }
}
