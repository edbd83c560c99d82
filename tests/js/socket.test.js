// The chat socket with a browser of fakes: one connection at a time, whatever happens.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ChatSocket } from "../../static/js/socket.js";

const sockets = [];

/** A WebSocket that a test opens and closes. */
class FakeWebSocket extends EventTarget {
  static OPEN = 1;
  readyState = 0;

  constructor() {
    super();
    sockets.push(this);
  }

  send() {}

  close(code = 1005) {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code }));
  }
}

const page = new EventTarget();
let later = [];
Object.assign(globalThis, {
  WebSocket: FakeWebSocket,
  location: { protocol: "http:", host: "127.0.0.1" },
  document: new EventTarget(),
  addEventListener: page.addEventListener.bind(page),
});

beforeEach(() => {
  sockets.length = 0;
  later = [];
});

/** Connect and lose the line so often that the next try asks who is signed in. */
function loseTwice(t) {
  t.mock.method(globalThis, "setTimeout", (act) => later.push(act));
  const socket = new ChatSocket();
  socket.connect();
  sockets.at(-1).close(1006);
  later.pop()();
  sockets.at(-1).close(1006);
  assert.equal(sockets.length, 2);
  return socket;
}

test("a line that came back while signing in was checked stays the only one", async (t) => {
  let answer;
  t.mock.method(globalThis, "fetch", () => new Promise((resolve) => { answer = resolve; }));
  loseTwice(t);
  const retry = later.pop()();
  page.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 3);
  answer({ type: "basic" });
  await retry;
  await new Promise(setImmediate);
  assert.equal(sockets.length, 3);
});

test("a redirect to the sign-in page ends the tries", async (t) => {
  t.mock.method(globalThis, "fetch", async () => ({ type: "opaqueredirect" }));
  const socket = loseTwice(t);
  let isSignedOut = false;
  socket.addEventListener("signedout", () => { isSignedOut = true; });
  later.pop()();
  await new Promise(setImmediate);
  assert.ok(isSignedOut);
  page.dispatchEvent(new Event("online"));
  assert.equal(sockets.length, 2);
});

test("a close over the size of a frame is told before the next try", (t) => {
  t.mock.method(globalThis, "setTimeout", (act) => later.push(act));
  const socket = new ChatSocket();
  const told = [];
  for (const type of ["toobig", "lost"]) socket.addEventListener(type, () => told.push(type));
  socket.connect();
  sockets.at(-1).close(1009);
  assert.deepEqual(told, ["toobig", "lost"]);
});
