/** The list of conversations: fresh titles and marks, menus that close, Undo's ten seconds. */

const UNDO_MS = 10_000;
const REFRESH_AFTER_MS = 250;

/** Watch the list of the page; returns functions that keep it up to date. */
export function watchSidebar(persona, currentConversation) {
  const list = document.getElementById("chat-list");
  let timer = 0;
  let isWanted = false;

  function refresh() {
    clearTimeout(timer);
    timer = setTimeout(load, REFRESH_AFTER_MS);
  }

  function load() {
    // A menu that is open would lose what is typed in it.
    if (list.querySelector("details[open], [data-undo]")) {
      refresh();
      return;
    }
    // So would somebody who walks through it with the keyboard.
    if (list.contains(document.activeElement)) {
      isWanted = true;
      return;
    }
    const query = new URLSearchParams({ current: currentConversation() });
    const wanted = new URLSearchParams(location.search).get("chats");
    if (wanted) query.set("chats", wanted);
    const path = `/c/of/${encodeURIComponent(persona)}/?${query}`;
    window.htmx?.ajax("GET", path, { target: "#chat-list", swap: "innerHTML" });
  }

  function setTitle(conversation, title) {
    const item = list.querySelector(`[data-id="${CSS.escape(conversation)}"]`);
    const link = item?.querySelector(".chat-link-title");
    if (link) link.textContent = title || "Untitled chat";
  }

  list.addEventListener("focusout", (event) => {
    if (!isWanted || list.contains(event.relatedTarget)) return;
    isWanted = false;
    refresh();
  });
  closeMenus(list);
  new MutationObserver(forgetUndos).observe(list, { childList: true, subtree: true });
  forgetUndos();
  return { refresh, setTitle };
}

/** Only one menu is open at a time; Esc or a click elsewhere closes it. */
function closeMenus(list) {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.chat-menu[open], details.info[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  list.addEventListener("keydown", (event) => {
    const menu = event.target.closest?.("details.chat-menu[open]");
    if (event.key !== "Escape" || !menu) return;
    event.preventDefault();
    event.stopPropagation();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

/** An offer to undo goes away after ten seconds. */
function forgetUndos() {
  for (const offer of document.querySelectorAll("[data-undo]:not([data-timed])")) {
    offer.dataset.timed = "";
    setTimeout(() => {
      offer.remove();
      const url = new URL(location.href);
      url.searchParams.delete("deleted");
      history.replaceState(null, "", url);
    }, UNDO_MS);
  }
}
