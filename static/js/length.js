/** How long a message may be: what is longer is said, and never cut. */

/** As `MAX_TEXT_CHARS` of `channels_app/turn_requests.py`. */
export const MAX_TEXT_CHARS = 32_000;

/**
 * Say why a text cannot be sent.
 *
 * @param {string} text
 * @returns {string} one sentence; empty for a text that fits
 */
export function tooLong(text) {
  if (text.length <= MAX_TEXT_CHARS) return "";
  // Characters as the server counts them: one for each emoji.
  let count = 0;
  for (const character of text) count += character ? 1 : 0;
  if (count <= MAX_TEXT_CHARS) return "";
  return `This text has ${write(count)} characters and ${write(MAX_TEXT_CHARS)} fit in one message. `
    + "Nothing was cut: shorten it or send it in parts.";
}

function write(count) {
  return count.toLocaleString("en-US");
}
