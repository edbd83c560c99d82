/** The editor of a persona's file: a live estimate, Mod+S, and no text lost by leaving. */

const form = document.querySelector("[data-file-editor]");
const text = form.querySelector("textarea[name=text]");
const count = form.querySelector("[data-token-count]");
const bytesPerToken = Number(form.dataset.bytesPerToken);
const encoder = new TextEncoder();
const numbers = new Intl.NumberFormat("en");
const opened = text.value;
let leaving = false;

/** Show the same estimate as the server makes. */
function showCount() {
  const bytes = encoder.encode(text.value).length;
  count.textContent = numbers.format(Math.ceil(bytes / bytesPerToken));
}

/** Whether the editor holds something that is saved nowhere. */
function isUnsaved() {
  return !leaving && ("changed" in form.dataset || text.value !== opened);
}

text.addEventListener("input", showCount);
form.addEventListener("submit", () => {
  leaving = true;
});
form.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    form.requestSubmit();
  }
});
addEventListener("beforeunload", (event) => {
  if (isUnsaved()) {
    event.preventDefault();
  }
});
