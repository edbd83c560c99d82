/**
 * The editor of a persona's file: a live estimate, Mod+S, and no text lost by leaving.
 *
 * What is sent is kept in this tab until the server shows it as saved, because a session
 * may have ended: after signing in, the editor opens with it again.
 */

const form = document.querySelector("[data-file-editor]");
const text = form.querySelector("textarea[name=text]");
const count = form.querySelector("[data-token-count]");
const bytesPerToken = Number(form.dataset.bytesPerToken);
const encoder = new TextEncoder();
const numbers = new Intl.NumberFormat("en");
const opened = text.value;
const revision = form.querySelector("[name=expected_revision]");
const openedRevision = revision.value;
const note = document.querySelector("[data-kept]");
const place = `cortex:file:${form.dataset.user}:${location.pathname}`;
let leaving = false;

/** Keep what is being sent; `null` forgets it. */
function keep(value) {
  try {
    if (value === null) sessionStorage.removeItem(place);
    else sessionStorage.setItem(place, JSON.stringify(value));
  } catch {
    // Storage may be full or switched off; then the text is only in what was sent.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(place) ?? "null");
  } catch {
    return null;
  }
}

/** Bring back what was sent and never saved, with the version that it was based on. */
function restore() {
  const sent = kept();
  // A refused form has all that was typed already.
  if (!sent || "changed" in form.dataset) return;
  if (sent.text === opened) {
    keep(null);
    return;
  }
  text.value = sent.text;
  revision.value = sent.revision;
  note.hidden = false;
}

note.querySelector("button").addEventListener("click", () => {
  keep(null);
  text.value = opened;
  revision.value = openedRevision;
  note.hidden = true;
  showCount();
  text.focus();
});

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
  keep({ text: text.value, revision: revision.value });
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

restore();
showCount();
