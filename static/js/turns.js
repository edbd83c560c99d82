/**
 * The turns that this page follows, kept exactly once each across lost connections.
 *
 * A turn's frames are numbered without gaps. The last number seen is remembered, frames
 * at or below it are ignored, and after a reconnect the rest is asked for with
 * `turn.resume {after}`. What was sent and not yet acknowledged is sent again with the
 * same client id, which the server recognises.
 *
 * Events: `started`, `stage`, `routed`, `delta`, `thinking`, `finished`, `gone`,
 * `refused`; each detail is the frame, `refused` also for a request that started nothing.
 */

export class Turns extends EventTarget {
  #socket;
  /** Turn id → last seq seen. */
  #seen = new Map();
  /** Client id → the request that no frame has answered yet. */
  #waiting = new Map();
  #wantedStops = new Set();

  /** @param {import("./socket.js").ChatSocket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.addEventListener("open", () => this.#again());
    socket.addEventListener("frame", (event) => this.#take(event.detail));
  }

  /** Whether a request is under way or a followed turn has not finished. */
  get isBusy() {
    return this.#seen.size > 0 || this.#waiting.size > 0;
  }

  /**
   * Begin a turn. While the connection is down the request waits for it.
   *
   * @param {object} frame message.send, turn.retry or message.edit without client_id
   * @returns {string} the client id by which the answer frames are known
   */
  begin(frame) {
    const client_id = crypto.randomUUID?.() ?? randomId();
    const request = { ...frame, client_id };
    this.#waiting.set(client_id, request);
    this.#socket.send(request);
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
    for (const [turn, after] of this.#seen) {
      this.#socket.send({ type: "turn.resume", turn, after });
      if (this.#wantedStops.has(turn)) this.#socket.send({ type: "turn.stop", turn });
    }
  }

  #take(frame) {
    if (frame.type === "error") this.#refused(frame);
    else if (frame.type?.startsWith("turn.")) this.#turnFrame(frame);
  }

  #turnFrame(frame) {
    const { turn, seq } = frame;
    if (frame.type === "turn.started") this.#started(frame);
    if (!this.#seen.has(turn) || seq <= this.#seen.get(turn)) return;
    this.#seen.set(turn, seq);
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

  #refused(frame) {
    if (frame.client_id && this.#waiting.delete(frame.client_id)) {
      this.#wantedStops.delete(frame.client_id);
      this.#emit("refused", frame);
    } else if (frame.turn && this.#seen.has(frame.turn)) {
      if (frame.code !== "turn_gone" && frame.code !== "not_found") return;
      this.#seen.delete(frame.turn);
      this.#emit("gone", frame);
    } else {
      this.#emit("refused", frame);
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** A random id for pages on plain http, where `crypto.randomUUID` is missing. */
function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
