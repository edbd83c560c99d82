/**
 * Behaviour that every page shares: light or dark, what signing out leaves behind, and
 * the time zone of whoever sets up an account.
 */

/**
 * Show a theme at once and remember it in a cookie, so that the server renders the
 * next page with it and nothing flashes.
 *
 * @param {"light" | "dark" | "system"} theme
 */
export function setTheme(theme) {
  const root = document.documentElement;
  const secure = location.protocol === "https:" ? "; secure" : "";
  if (theme === "system") {
    delete root.dataset.theme;
    document.cookie = `theme=; path=/; max-age=0; samesite=lax${secure}`;
  } else {
    root.dataset.theme = theme;
    document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
  }
}

for (const form of document.querySelectorAll("[data-theme-form]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setTheme(event.submitter.value);
    for (const button of form.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button === event.submitter));
    }
  });
}

/** Mod+K: to the search, into its field where the page shows one. */
function goToSearch(event) {
  if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  if (event.key.toLowerCase() !== "k" || !document.body.classList.contains("shell")) return;
  event.preventDefault();
  const fields = [...document.querySelectorAll("[data-search]")];
  const field = fields.find((each) => each.checkVisibility());
  if (field) field.select();
  else location.assign("/search/");
}

document.addEventListener("keydown", goToSearch);

/** Delete what the browser keeps for a person: drafts, choices, unsaved files. */
function forget(person) {
  try {
    for (const storage of [localStorage, sessionStorage]) {
      for (const key of Object.keys(storage)) {
        const [program, , owner] = key.split(":");
        if (program === "cortex" && owner === person) storage.removeItem(key);
      }
    }
  } catch {
    // Storage is switched off, so there is nothing to delete.
  }
}

for (const form of document.querySelectorAll("[data-sign-out]")) {
  form.addEventListener("submit", () => forget(form.dataset.signOut));
}

for (const field of document.querySelectorAll("[data-browser-zone]")) {
  field.value = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
