/** Results of tasks are Markdown; what is polled into the page is rendered as well. */

import { toNodes } from "./markdown.js";

function render() {
  for (const box of document.querySelectorAll("[data-markdown]")) {
    const source = box.textContent;
    delete box.dataset.markdown;
    delete box.dataset.source;
    box.replaceChildren(toNodes(source));
  }
}

new MutationObserver(render).observe(document.getElementById("main"), { childList: true, subtree: true });
render();
