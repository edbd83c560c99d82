/** Who answers in a conversation: what is picked holds for it on every device. */

const PATIENCE_MS = 10_000;

/**
 * Keep each choice of the composer's picker with the conversation, one after the other.
 *
 * @param {import("./composer.js").Composer} composer
 * @param {() => string} conversation returns the id of the one that is shown
 * @param {(text: string) => void} tell shows a note
 * @returns {() => Promise<boolean>} waits for the choices made so far; false when the
 *   last of them could not be kept
 */
export function keepPolicy(composer, conversation, tell) {
  let last = Promise.resolve(true);

  async function keep(before, route) {
    await before;
    try {
      await save(conversation(), route);
      composer.routeSaved(route);
      return true;
    } catch {
      if (composer.routeRefused(route)) {
        tell("The choice could not be kept for this chat; the one before still holds.");
      }
      return false;
    }
  }

  composer.addEventListener("route", ({ detail: route }) => {
    last = keep(last, route);
  });
  return () => last;
}

async function save(conversation, route) {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(`/c/${conversation}/policy`, {
    method: "POST",
    headers: { "X-Requested-With": "fetch", "X-CSRFToken": token },
    body: new URLSearchParams({ route }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (answer.status !== 204) throw new Error(`policy: ${answer.status}`);
}
