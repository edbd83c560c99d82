/** The line above the chat that says when the connection is gone, and why. */

/**
 * @param {import("./socket.js").ChatSocket} socket
 * @param {HTMLElement} banner
 */
export function watchConnection(socket, banner) {
  const link = banner.querySelector(".banner-link");

  function show(text, withSignIn) {
    banner.querySelector(".banner-text").textContent = text;
    link.hidden = !withSignIn;
    link.href = `/account/login/?next=${encodeURIComponent(location.pathname)}`;
    banner.hidden = false;
  }

  socket.addEventListener("open", () => { banner.hidden = true; });
  socket.addEventListener("lost", ({ detail: seconds }) => {
    show(`Connection lost. Trying again in ${seconds} s; nothing is lost.`, false);
  });
  socket.addEventListener("signedout", () => {
    show("You were signed out. What you wrote is kept here.", true);
  });
}
