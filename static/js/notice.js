/** The one note above the composer: what went wrong, or why something must wait. */

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
