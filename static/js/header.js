/** What the header of a chat leads to, once a new chat has become a conversation. */

/** Offer who answers in a conversation, and the switch of its memory. */
export function linkHeader(conversation) {
  const link = document.getElementById("who-answers");
  link.href = `/c/${conversation}/policy`;
  link.hidden = false;
  const menu = document.getElementById("head-menu");
  if (!menu) return; // a temporary chat is never remembered
  menu.querySelector("form").action = `/c/${conversation}/memory`;
  menu.hidden = false;
}
