/**
 * The turns that this page follows, kept exactly once each across lost connections.
 *
 * A turn's frames are numbered without gaps. The last number seen is remembered, frames
 * at or below it are ignored, and after a reconnect the rest is asked for with
 * `turn.resume {after}`. What was sent and not yet acknowledged is sent again with the
 * same client id, which the server recognises.
 *
 * Events: `started`, `stage`, `routed`, `notice`, `delta`, `thinking`, `finished`, each
 * with its frame; `command` for a message that was one; `gone` for a turn that cannot be followed any more, where the message itself
 * tells the rest; `refused` for a request that started nothing.
 */

/** What the server takes as one frame. */
const MAX_FRAME_BYTES = 65_536;
const TRY_AGAIN_MS = 1_500;
/** How often a turn without a process is asked for: one may just be beginning it. */
const TRIES_WITHOUT_PROCESS = 2;
const TOO_LONG = {
  code: "too_long",
  message: "This message is too long to be sent at once: 32,000 letters fit, fewer in scripts "
    + "whose letters take several bytes (64 KB in all). Please shorten it or send it in parts.",
};

export class Turns extends EventTarget {
  #socket;
  /** Turn id → last seq seen. */
  #seen = new Map();
  /** Client id → the request that no frame has answered yet. */
  #waiting = new Map();
  #wantedStops = new Set();
  /** Turns that are asked for again in a moment. */
  #retried = new Set();
  /** Turn id → how often in a row no process had it. */
  #misses = new Map();

  /** @param {import("./socket.js").ChatSocket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.addEventListener("open", () => this.#again());
    socket.addEventListener("frame", (event) => this.#take(event.detail));
    socket.addEventListener("toobig", () => this.#refuseWaiting());
  }

  /**
   * Begin a turn. While the connection is down the request waits for it. One that no
   * frame can carry is refused as soon as the caller has finished.
   *
   * @param {object} frame message.send, turn.retry or message.edit without client_id
   * @returns {string} the client id by which the answer frames are known
   */
  begin(frame) {
    const client_id = crypto.randomUUID?.() ?? randomId();
    const request = { ...frame, client_id };
    this.#waiting.set(client_id, request);
    if (sizeOf(request) <= MAX_FRAME_BYTES) this.#socket.send(request);
    else queueMicrotask(() => this.#refused({ ...TOO_LONG, client_id }));
    return client_id;
  }

  /** Follow a turn that runs already, from its beginning. */
  follow(turn) {
    if (this.#seen.has(turn)) return;
    this.#seen.set(turn, -1);
    this.#socket.send({ type: "turn.resume", turn, after: -1 });
  }

  /** Stop a turn, or the request that is about to become one. */
  stop(turnOrClientId) {
    this.#wantedStops.add(turnOrClientId);
    if (this.#seen.has(turnOrClientId)) {
      this.#socket.send({ type: "turn.stop", turn: turnOrClientId });
    }
  }

  #again() {
    for (const request of this.#waiting.values()) this.#socket.send(request);
    for (const turn of this.#seen.keys()) this.#resume(turn);
  }

  #resume(turn) {
    if (!this.#seen.has(turn)) return;
    this.#socket.send({ type: "turn.resume", turn, after: this.#seen.get(turn) });
    if (this.#wantedStops.has(turn)) this.#socket.send({ type: "turn.stop", turn });
  }

  #tryAgain(turn) {
    if (this.#retried.has(turn)) return;
    this.#retried.add(turn);
    setTimeout(() => {
      this.#retried.delete(turn);
      this.#resume(turn);
    }, TRY_AGAIN_MS);
  }

  /** The connection was closed over a frame that was too big: one of these. */
  #refuseWaiting() {
    for (const client_id of [...this.#waiting.keys()]) this.#refused({ ...TOO_LONG, client_id });
  }

  #take(frame) {
    if (frame.type === "error") this.#refused(frame);
    else if (frame.type === "command.result") this.#commanded(frame);
    else if (frame.type?.startsWith("turn.")) this.#turnFrame(frame);
  }

  #turnFrame(frame) {
    const { turn, seq } = frame;
    if (frame.type === "turn.started") this.#started(frame);
    if (!this.#seen.has(turn) || seq <= this.#seen.get(turn)) return;
    this.#seen.set(turn, seq);
    this.#misses.delete(turn);
    const kind = frame.type.slice("turn.".length);
    if (kind === "finished") {
      this.#seen.delete(turn);
      this.#wantedStops.delete(turn);
    }
    this.#emit(kind, frame);
  }

  #started(frame) {
    const { turn, client_id } = frame;
    if (!this.#waiting.delete(client_id) && !this.#seen.has(turn)) return;
    if (!this.#seen.has(turn)) this.#seen.set(turn, -1);
    if (this.#wantedStops.delete(client_id)) this.stop(turn);
  }

  /** A message was a command; a repeated answer to it says nothing new. */
  #commanded(frame) {
    if (this.#waiting.delete(frame.client_id)) this.#emit("command", frame);
  }

  #refused(frame) {
    if (frame.client_id && this.#waiting.delete(frame.client_id)) {
      this.#wantedStops.delete(frame.client_id);
      // A message that was answered before is stored: sending it again would double it.
      this.#emit(frame.code === "turn_gone" ? "gone" : "refused", frame);
    } else if (frame.turn && this.#seen.has(frame.turn)) {
      this.#failed(frame);
    } else if (frame.code !== "turn_gone") {
      this.#emit("refused", frame);
    }
  }

  /** A turn that is followed could not be had. */
  #failed(frame) {
    const { turn, code, retryable } = frame;
    const misses = code === "turn_gone" ? (this.#misses.get(turn) ?? 0) + 1 : 0;
    if (retryable && misses <= TRIES_WITHOUT_PROCESS) {
      this.#misses.set(turn, misses);
      this.#tryAgain(turn);
      return;
    }
    for (const kept of [this.#seen, this.#misses, this.#wantedStops]) kept.delete(turn);
    this.#emit("gone", frame);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function sizeOf(frame) {
  return new TextEncoder().encode(JSON.stringify(frame)).length;
}

/** A random id for pages on plain http, where `crypto.randomUUID` is missing. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
