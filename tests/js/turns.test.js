// The page's bookkeeping of turns: nothing twice, nothing lost, whatever the connection does.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../../static/js/turns.js";

/** A socket that remembers what was sent and lets a test play the server. */
class FakeSocket extends EventTarget {
  sent = [];

  send(frame) {
    this.sent.push(frame);
  }

  receive(frame) {
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  reconnect() {
    this.sent = [];
    this.dispatchEvent(new Event("open"));
  }
}

/** Make both ends and collect every event as `[type, frame]`. */
function setUp() {
  const socket = new FakeSocket();
  const turns = new Turns(socket);
  const events = [];
  for (const type of ["started", "delta", "finished", "gone", "refused"]) {
    turns.addEventListener(type, (event) => events.push([type, event.detail]));
  }
  return { socket, turns, events };
}

function started(socket, client_id, turn = "t1") {
  socket.receive({ type: "turn.started", turn, seq: 0, client_id });
}

function delta(socket, seq, text, turn = "t1") {
  socket.receive({ type: "turn.delta", turn, seq, text });
}

function textOf(events) {
  return events.filter(([type]) => type === "delta").map(([, frame]) => frame.text).join("");
}

test("frames that come again are ignored", () => {
  const { socket, turns, events } = setUp();
  const id = turns.begin({ type: "message.send", text: "hi" });
  started(socket, id);
  delta(socket, 1, "a");
  delta(socket, 2, "b");
  delta(socket, 1, "a");
  started(socket, id);
  delta(socket, 3, "c");
  assert.equal(textOf(events), "abc");
  assert.equal(events.filter(([type]) => type === "started").length, 1);
});

test("notices and seams come in their place, once", () => {
  const { socket, turns } = setUp();
  const told = [];
  for (const type of ["notice", "routed", "delta"]) {
    turns.addEventListener(type, ({ detail }) => told.push(detail.text ?? detail.continues));
  }
  started(socket, turns.begin({ type: "message.send", text: "hi" }));
  const notice = { type: "turn.notice", turn: "t1", seq: 2, code: "busy", text: "wait" };
  delta(socket, 1, "a");
  socket.receive(notice);
  socket.receive({ type: "turn.routed", turn: "t1", seq: 3, model: "b", continues: true });
  socket.receive(notice);
  delta(socket, 4, "c");
  assert.deepEqual(told, ["a", "wait", true, "c"]);
});

test("a reconnect asks for what follows the last frame", () => {
  const { socket, turns } = setUp();
  started(socket, turns.begin({ type: "message.send", text: "hi" }));
  delta(socket, 1, "a");
  socket.reconnect();
  assert.deepEqual(socket.sent, [{ type: "turn.resume", turn: "t1", after: 1 }]);
});

test("a request without an answer is sent again with the same id", () => {
  const { socket, turns } = setUp();
  const id = turns.begin({ type: "message.send", text: "hi" });
  socket.reconnect();
  assert.equal(socket.sent.length, 1);
  assert.equal(socket.sent[0].client_id, id);
});

test("a stop before the start stops the turn when it starts", () => {
  const { socket, turns } = setUp();
  const id = turns.begin({ type: "message.send", text: "hi" });
  turns.stop(id);
  assert.ok(!socket.sent.some((frame) => frame.type === "turn.stop"));
  started(socket, id);
  assert.deepEqual(socket.sent.at(-1), { type: "turn.stop", turn: "t1" });
});

test("frames of turns that this page does not follow are ignored", () => {
  const { socket, events } = setUp();
  started(socket, "somebody-else", "t2");
  delta(socket, 1, "x", "t2");
  assert.deepEqual(events, []);
  socket.reconnect();
  assert.deepEqual(socket.sent, []);
});

test("a refused request is told once and is no longer waited for", () => {
  const { socket, turns, events } = setUp();
  const id = turns.begin({ type: "message.send", text: "hi" });
  socket.receive({ type: "error", code: "too_many", client_id: id, turn: null });
  socket.reconnect();
  assert.deepEqual(events.map(([type]) => type), ["refused"]);
  assert.deepEqual(socket.sent, []);
});

for (const code of ["turn_gone", "not_found", "unauthenticated"]) {
  test(`a turn that ends with ${code} is gone and not asked for again`, () => {
    const { socket, turns, events } = setUp();
    turns.follow("t1");
    socket.receive({ type: "error", code, retryable: false, client_id: null, turn: "t1" });
    assert.deepEqual(events.map(([type]) => type), ["gone"]);
    socket.reconnect();
    assert.deepEqual(socket.sent, []);
  });
}

test("a resume that failed for the moment is tried again once, with its stop", (t) => {
  const later = [];
  t.mock.method(globalThis, "setTimeout", (act) => later.push(act));
  const { socket, turns, events } = setUp();
  started(socket, turns.begin({ type: "message.send", text: "hi" }));
  delta(socket, 1, "a");
  turns.stop("t1");
  const error = { type: "error", code: "internal", retryable: true, client_id: null, turn: "t1" };
  socket.receive(error);
  socket.receive(error);
  assert.equal(later.length, 1);
  assert.ok(!events.some(([type]) => type === "gone" || type === "refused"));
  socket.sent = [];
  later.pop()();
  assert.deepEqual(socket.sent, [
    { type: "turn.resume", turn: "t1", after: 1 },
    { type: "turn.stop", turn: "t1" },
  ]);
  socket.receive(error);
  socket.receive({ type: "turn.finished", turn: "t1", seq: 2, outcome: "interrupted" });
  socket.sent = [];
  later.pop()();
  assert.deepEqual(socket.sent, []);
});

test("a turn without a process is asked for twice more and then gone", (t) => {
  const later = [];
  t.mock.method(globalThis, "setTimeout", (act) => later.push(act));
  const { socket, turns, events } = setUp();
  turns.follow("t1");
  const error = { type: "error", code: "turn_gone", retryable: true, client_id: null, turn: "t1" };
  for (let tries = 0; tries < 2; tries += 1) {
    socket.receive(error);
    assert.deepEqual(events, []);
    later.pop()();
  }
  socket.receive(error);
  assert.deepEqual(events.map(([type]) => type), ["gone"]);
  assert.equal(later.length, 0);
});

test("a message that was answered before is gone, not refused", () => {
  const { socket, turns, events } = setUp();
  const client_id = turns.begin({ type: "message.send", text: "hi" });
  const error = { type: "error", code: "turn_gone", client_id, turn: "t1", conversation: "c1" };
  socket.receive(error);
  assert.deepEqual(events, [["gone", error]]);
  socket.reconnect();
  assert.deepEqual(socket.sent, []);
});

test("a message that no frame can carry is refused and never sent", async () => {
  const { socket, turns, events } = setUp();
  const client_id = turns.begin({ type: "message.send", text: "漢".repeat(25_000) });
  assert.deepEqual(events, []);
  await null;
  assert.deepEqual(events.map(([type, frame]) => [type, frame.client_id]), [
    ["refused", client_id],
  ]);
  socket.reconnect();
  assert.deepEqual(socket.sent, []);
});

test("a message of as many Latin letters is sent", () => {
  const { socket, turns } = setUp();
  turns.begin({ type: "message.send", text: "a".repeat(32_000) });
  assert.equal(socket.sent.length, 1);
});

test("what was waiting is refused when the connection closes over its size", () => {
  const { socket, turns, events } = setUp();
  turns.begin({ type: "message.send", text: "hi" });
  socket.dispatchEvent(new Event("toobig"));
  assert.deepEqual(events.map(([type, frame]) => [type, frame.code]), [["refused", "too_long"]]);
  socket.reconnect();
  assert.deepEqual(socket.sent, []);
});

test("a finished turn is not asked for again", () => {
  const { socket, turns, events } = setUp();
  started(socket, turns.begin({ type: "message.send", text: "hi" }));
  socket.receive({ type: "turn.finished", turn: "t1", seq: 1, outcome: "complete" });
  socket.reconnect();
  assert.deepEqual(socket.sent, []);
  assert.equal(events.at(-1)[0], "finished");
});
