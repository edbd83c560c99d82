/** Times as the chat shows them. */

/** Day before month and 24 hours: what the server writes on all other pages. */
const TIMES = "en-GB";

/** Show a moment in the reader's own time, as every page writes it; the exact one on hover. */
export function showLocalTime(time) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const isToday = at.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  time.textContent = at.toLocaleString(TIMES, { ...day, hour: "2-digit", minute: "2-digit" });
  time.title = at.toLocaleString(TIMES, { dateStyle: "medium", timeStyle: "medium" });
}
