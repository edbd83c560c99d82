/** Buttons that copy what stands beside them; without scripts they are not shown. */

import { copy } from "./clipboard.js";

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    copy(button, document.getElementById(button.dataset.copy).textContent);
  });
}
