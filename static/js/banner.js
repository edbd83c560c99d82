/**
 * The line above the chat that says when the connection is gone, and why.
 *
 * Readers of the screen hear it once: the seconds until the next try are for eyes only.
 */

/**
 * @param {import("./socket.js").ChatSocket} socket
 * @param {HTMLElement} banner
 */
export function watchConnection(socket, banner) {
  const said = banner.querySelector(".banner-text");
  const wait = banner.querySelector(".banner-wait");
  const link = banner.querySelector(".banner-link");

  function show(text, hint, withSignIn) {
    // Writing the same text again would have it read out again.
    if (said.textContent !== text) said.textContent = text;
    wait.textContent = hint;
    link.hidden = !withSignIn;
    link.href = `/account/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
    banner.hidden = false;
  }

  socket.addEventListener("open", () => {
    banner.hidden = true;
    said.textContent = "";
  });
  socket.addEventListener("lost", ({ detail: seconds }) => {
    show("Connection lost; nothing you wrote is lost.", `Trying again in ${seconds} s.`, false);
  });
  socket.addEventListener("signedout", () => {
    show("You were signed out. What you wrote is kept here.", "", true);
  });
}
