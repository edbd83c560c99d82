/**
 * The notes above the composer: one says what went wrong or why something must wait, the
 * other what a command answered.
 */

import { toNodes } from "./markdown.js";

/**
 * Watch the note of the page.
 *
 * @param {HTMLElement} box
 * @returns `tell(text, untilIdle)` shows a note, which with `untilIdle` is true only
 *   while an answer is written; `hush()` takes it away; `idle()` says that none is
 */
export function watchNotice(box) {
  function hush() {
    box.hidden = true;
  }

  box.querySelector("button").addEventListener("click", hush);
  return {
    tell(text, untilIdle = false) {
      box.querySelector("span").textContent = text;
      box.toggleAttribute("data-until-idle", untilIdle);
      box.hidden = false;
    },
    hush,
    idle() {
      if ("untilIdle" in box.dataset) hush();
    },
  };
}

/**
 * Watch the note that tells what commands answered.
 *
 * @param {HTMLElement} box
 * @param {(text: string, literal: boolean) => void} choose what happens to an answer
 *   that is chosen; a literal one is a message, whatever it says
 * @returns `show(text, choices)` shows Markdown with a button for each answer that is
 *   waited for; `hush()` takes it away
 */
export function watchAnswerNote(box, choose) {
  function hush() {
    box.hidden = true;
  }

  box.querySelector("button").addEventListener("click", hush);
  return {
    show(text, choices = []) {
      const place = box.querySelector(".text");
      place.replaceChildren(toNodes(text));
      if (choices.length) place.append(buttonsFor(choices));
      place.scrollTop = 0;
      box.hidden = false;
    },
    hush,
  };

  function buttonsFor(choices) {
    const row = document.createElement("p");
    row.className = "choices";
    row.append(...choices.map(({ text, label, literal }, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = index ? "button" : "button primary";
      button.textContent = label;
      button.addEventListener("click", () => {
        hush();
        choose(text, literal);
      });
      return button;
    }));
    return row;
  }
}
