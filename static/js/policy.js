/** Who answers in a conversation: what is picked holds for it on every device. */

/**
 * Keep each choice of the composer's picker with the conversation.
 *
 * @param {import("./composer.js").Composer} composer
 * @param {() => string} conversation returns the id of the one that is shown
 * @param {(text: string) => void} tell shows a note
 */
export function keepPolicy(composer, conversation, tell) {
  composer.addEventListener("route", async ({ detail: route }) => {
    try {
      await save(conversation(), route);
      composer.routeSaved(route);
    } catch {
      tell("The choice could not be kept for this chat; your messages take it along.");
    }
  });
}

/** Lead to the page on which one says who answers in a conversation. */
export function linkPolicy(conversation) {
  const link = document.getElementById("who-answers");
  link.href = `/c/${conversation}/policy`;
  link.hidden = false;
}

async function save(conversation, route) {
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(`/c/${conversation}/policy`, {
    method: "POST",
    headers: { "X-Requested-With": "fetch", "X-CSRFToken": token },
    body: new URLSearchParams({ route }),
  });
  if (answer.status !== 204) throw new Error(`policy: ${answer.status}`);
}
