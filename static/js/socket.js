/**
 * The chat socket: stays connected, or says that it is not.
 *
 * A lost connection is retried after 1, 2, 4, 8 and then every 15 seconds, and at once
 * when the browser is online or visible again. What runs over it (turns, resuming) is
 * the business of turns.js.
 *
 * Events: `frame` (detail = the decoded frame), `open`, `lost` (detail = seconds until
 * the next try), `toobig` (before `lost`, when a frame of ours was the reason),
 * `signedout`.
 */

const DELAYS_S = [1, 2, 4, 8, 15];
const PING_EVERY_MS = 25_000;
const PONG_WITHIN_MS = 10_000;
const STABLE_AFTER_MS = 5_000;
const ASK_PATIENCE_MS = 5_000;
const TOO_BIG = 1009;
const SIGNED_OUT = 4401;
const TOO_MANY = 4429;
const GUESS_SIGNED_OUT_AFTER = 2;

export class ChatSocket extends EventTarget {
  #url;
  #socket = null;
  #failures = 0;
  #retryTimer = 0;
  #pingTimer = 0;
  #pongTimer = 0;
  #stableTimer = 0;
  #ended = false;

  /** @param {string} path the socket's path on this origin */
  constructor(path = "/ws/chat/") {
    super();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.#url = `${scheme}//${location.host}${path}`;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#retryNow();
    });
    addEventListener("pagehide", () => this.#socket?.close());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.#retryNow();
    });
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Open the connection; returns at once. */
  connect() {
    clearTimeout(this.#retryTimer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened(socket));
    socket.addEventListener("message", (event) => this.#received(socket, event));
    socket.addEventListener("close", (event) => this.#closed(socket, event));
  }

  /**
   * Send a frame now.
   *
   * @returns {boolean} false when there is no connection; nothing is kept for later
   */
  send(frame) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    // A server that accepts and drops at once must not reset the waiting time.
    this.#stableTimer = setTimeout(() => { this.#failures = 0; }, STABLE_AFTER_MS);
    this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
    this.#emit("open");
  }

  #ping() {
    this.send({ type: "ping" });
    clearTimeout(this.#pongTimer);
    this.#pongTimer = setTimeout(() => this.#drop(), PONG_WITHIN_MS);
  }

  #received(socket, event) {
    if (socket !== this.#socket) return;
    clearTimeout(this.#pongTimer);
    let frame;
    try {
      frame = JSON.parse(event.data);
    } catch {
      return;
    }
    if (frame && frame.type !== "pong") this.#emit("frame", frame);
  }

  /** Give up a connection that no longer answers, without waiting for its close. */
  #drop() {
    const socket = this.#socket;
    socket?.close();
    this.#closed(socket, { code: 1006 });
  }

  #closed(socket, event) {
    if (socket !== this.#socket || !socket) return;
    this.#socket = null;
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    clearTimeout(this.#stableTimer);
    if (event.code === SIGNED_OUT) {
      this.#end();
      return;
    }
    if (event.code === TOO_BIG) this.#emit("toobig");
    const step = event.code === TOO_MANY ? DELAYS_S.length - 1 : this.#failures;
    const delay_s = DELAYS_S[Math.min(step, DELAYS_S.length - 1)];
    this.#failures += 1;
    this.#retryTimer = setTimeout(() => this.#retry(), delay_s * 1000);
    this.#emit("lost", delay_s);
  }

  #end() {
    this.#ended = true;
    this.#emit("signedout");
  }

  /** A refused upgrade looks like a broken line, so ask whether we are signed in. */
  async #retry() {
    if (this.#failures >= GUESS_SIGNED_OUT_AFTER) {
      try {
        const answer = await fetch("/settings/profile/", {
          method: "HEAD",
          redirect: "manual",
          signal: AbortSignal.timeout(ASK_PATIENCE_MS),
        });
        if (this.#socket) return; // connected while this was asked
        if (answer.type === "opaqueredirect") {
          this.#end();
          return;
        }
      } catch {
        // No server at all: the socket's own failure tells the same.
      }
    }
    this.#retryNow();
  }

  #retryNow() {
    if (!this.#socket && !this.#ended) this.connect();
  }
}
