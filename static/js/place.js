/** Where a message goes to, as the page knows it. */

/**
 * Return the part of a frame that names the chat. Only its first message makes a chat
 * temporary; it stays that afterwards.
 *
 * @param {DOMStringMap} page `persona`, `conversation` ("" = a new one), `temporary`
 */
export function placeOf({ persona, conversation, temporary }) {
  if (conversation) return { persona, conversation };
  const isTemporary = temporary !== undefined;
  return { persona, conversation: null, ...(isTemporary && { temporary: true }) };
}

/** Return what the draft of a new chat is kept under: never with that of another kind. */
export function newChatKey({ persona, temporary }) {
  return temporary === undefined ? `new:${persona}` : `new:temporary:${persona}`;
}
