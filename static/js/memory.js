/**
 * The memory page: what is open and what is typed stay when a part of it changes, the
 * keyboard stays where it was, and what happened is read out.
 */

const KEEPS_TYPED = new Set(["pin", "unpin", "private", "open"]);
let sent = null;
let kept = null;

/** Return what a person would lose: open parts, typed texts, the place of the focus. */
function look() {
  const typed = new Map();
  for (const field of document.querySelectorAll(".page :is(textarea, input:not([type=hidden]))[id]")) {
    const isChanged = field.type === "checkbox"
      ? field.checked !== field.defaultChecked
      : field.value !== field.defaultValue;
    if (isChanged && field.form !== sent) typed.set(field.id, field.type === "checkbox" ? field.checked : field.value);
  }
  const open = [...document.querySelectorAll(".page details[open][id]")]
    .filter((part) => !sent || !(part.contains(sent) || sent.contains(part)))
    .map((part) => part.id);
  return { typed, open, focus: document.activeElement?.id, at: scrollY };
}

function restore({ typed, open, focus, at }) {
  for (const id of open) {
    const part = document.getElementById(id);
    if (part) part.open = true;
  }
  for (const [id, value] of typed) {
    const field = document.getElementById(id);
    if (field) field[field.type === "checkbox" ? "checked" : "value"] = value;
  }
  const place = document.getElementById("memory-undo")
    ?? (focus && document.getElementById(focus))
    ?? document.getElementById("memory-lines");
  if (place && place !== document.activeElement) place.focus({ preventScroll: true });
  scrollTo({ top: at, behavior: "instant" });
}

document.addEventListener("submit", (event) => {
  sent = KEEPS_TYPED.has(event.submitter?.value) ? null : event.target;
}, true);

document.addEventListener("htmx:before:swap", () => {
  kept = look();
});

document.addEventListener("htmx:after:swap", () => {
  if (!kept) return;
  restore(kept);
  const said = document.querySelector("[data-refusal], [data-removed] p, .page > .messages");
  if (sent) document.getElementById("status").textContent = said?.textContent.trim() ?? "";
  kept = null;
  sent = null;
  // A refusal is above what was to be changed, perhaps out of sight.
  document.querySelector("[data-refusal]")?.scrollIntoView({ block: "nearest" });
});
