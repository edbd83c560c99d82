/** Copying, also where the browser has no clipboard API. */

const SHOWN_MS = 1500;

/** Copy a text and say so on the button and to screen readers. */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyByHand(text);
  }
  document.getElementById("status").textContent = "Copied";
  const label = button.querySelector(".icon") ? null : button.textContent;
  button.classList.add("done");
  if (label) button.textContent = "Copied";
  setTimeout(() => {
    button.classList.remove("done");
    if (label) button.textContent = label;
  }, SHOWN_MS);
}

/** The clipboard API is missing on plain http of other machines. */
function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
