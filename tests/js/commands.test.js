// Commands on the page: seen as what they are, never lost, and followed where they lead.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { commandIn, Commands } from "../../static/js/commands.js";
import { Turns } from "../../static/js/turns.js";

const NAMES = new Set(["new", "model", "stop", "help"]);

// The server decides the same by tests/channels_app/test_slash_commands.py.
const TEXTS = {
  "/new": "new",
  "  /new \n": "new",
  "/New": "new",
  "/model haiku": "model",
  "/model\nhaiku": "model",
  "/frobnicate": "unknown",
  "/Newer": "unknown",
  "/frobnicate the thing": "",
  "//new": "",
  "// a comment": "",
  "/": "",
  "/ new": "",
  "/etc/hosts": "",
  "/new/old": "",
  "/new.": "",
  "/1": "",
  "say /new": "",
  "": "",
};

for (const [text, name] of Object.entries(TEXTS)) {
  test(`${JSON.stringify(text)} is ${name || "a message"}`, () => {
    assert.equal(commandIn(text, NAMES), name);
  });
}

/** An element as far as the list of commands needs it. */
class FakeElement extends EventTarget {
  hidden = true;
  children = [];
}

class FakeSocket extends EventTarget {
  sent = [];

  send(frame) {
    this.sent.push(frame);
  }

  receive(frame) {
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }
}

let socket;
let composer;
let shown;
let gone;
let stored;
let commands;
let stops;
let taken;

beforeEach(() => {
  socket = new FakeSocket();
  composer = { text: "", routes: [], focus() {}, chooseRoute(route) { this.routes.push(route); } };
  shown = [];
  gone = [];
  stops = 0;
  taken = [];
  stored = new Map();
  globalThis.sessionStorage = {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, value),
    removeItem: (key) => stored.delete(key),
  };
  const area = Object.assign(new FakeElement(), { form: new FakeElement() });
  const list = new FakeElement();
  list.children = [...NAMES].map((name) => ({ dataset: { name } }));
  const form = { querySelector: (what) => (what === "textarea" ? area : list) };
  commands = new Commands(new Turns(socket), composer, {
    form,
    owner: "7",
    here: () => ({ persona: "inara", conversation: "c1" }),
    show: (text, choices = []) => shown.push(choices.length ? [text, ...choices] : text),
    takeBack: (id) => taken.push(id),
    go: (path) => gone.push(path),
    stopBegun: () => { stops += 1; },
  });
});

/** Give a command and return what was sent for it. */
function give(text) {
  composer.text = text;
  assert.equal(commands.take(text), true);
  return socket.sent.at(-1);
}

function answer(sent, fields) {
  socket.receive({
    type: "command.result", client_id: sent.client_id, command: "help", text: "Words",
    conversation: null, persona: null, route: null, ...fields,
  });
}

test("a command is sent as a message and its answer is a note", () => {
  const sent = give("/help");
  assert.deepEqual(
    { ...sent, client_id: "" },
    { type: "message.send", client_id: "", persona: "inara", conversation: "c1", text: "/help" },
  );
  assert.equal(composer.text, "");
  answer(sent);
  answer(sent);
  assert.deepEqual(shown, ["Words"]);
  assert.deepEqual(gone, []);
});

test("a message is left to others", () => {
  composer.text = "hello";
  assert.equal(commands.take("hello"), false);
  assert.equal(composer.text, "hello");
  assert.deepEqual(socket.sent, []);
});

test("what was not answered is asked again over the next connection", () => {
  const sent = give("/help");
  socket.dispatchEvent(new Event("open"));
  assert.deepEqual(socket.sent, [sent, sent]);
  answer(sent);
  socket.dispatchEvent(new Event("open"));
  assert.equal(socket.sent.length, 2);
});

test("a new chat is gone to, and its note is shown there once", () => {
  answer(give("/new"), { command: "new", persona: "tina & co" });
  assert.deepEqual(gone, ["/?persona=tina%20%26%20co"]);
  assert.deepEqual(shown, []);
  commands.welcome();
  commands.welcome();
  assert.deepEqual(shown, ["Words"]);
  answer(give("/model x"), { conversation: "c2" });
  assert.deepEqual(gone.slice(1), ["/c/c2"]);
});

test("a chosen model is shown in the picker, the chain as well", () => {
  answer(give("/model"), { route: null });
  assert.deepEqual(composer.routes, []);
  answer(give("/model default"), { route: "" });
  answer(give("/model haiku"), { route: "model:haiku" });
  assert.deepEqual(composer.routes, ["", "model:haiku"]);
});

test("an unknown word comes back unless something else was typed", () => {
  answer(give("/nwe"), { command: "unknown" });
  assert.equal(composer.text, "/nwe");
  const sent = give("/nwe");
  composer.text = "something else";
  answer(sent, { command: "unknown" });
  assert.equal(composer.text, "something else");
});

test("plain words that were a command are taken back, with buttons to answer", () => {
  const turns = new Turns(socket);
  commands = new Commands(turns, composer, {
    form: { querySelector: (what) => (what === "textarea" ? Object.assign(new FakeElement(), { form: new FakeElement() }) : new FakeElement()) },
    owner: "7",
    here: () => ({ persona: "inara", conversation: "c1" }),
    show: (text, choices) => shown.push([text, ...choices]),
    takeBack: (id) => taken.push(id),
  });
  const client_id = turns.begin({ type: "message.send", text: "every day tell me a joke" });
  const choices = [{ text: "/brief yes", label: "Yes" }];
  answer({ client_id }, { command: "brief", text: "Shall I?", choices });
  assert.deepEqual(taken, [client_id]);
  assert.deepEqual(shown, [["Shall I?", ...choices]]);
});

test("a refused command comes back", () => {
  const { client_id } = give("/model haiku");
  assert.equal(commands.refused({ client_id: "another" }), false);
  assert.equal(composer.text, "");
  assert.equal(commands.refused({ client_id }), true);
  assert.equal(composer.text, "/model haiku");
  assert.equal(commands.refused({ client_id }), false);
});

test("stop also ends what the server has not heard of yet", () => {
  give("/help");
  assert.equal(stops, 0);
  give("/stop");
  assert.equal(stops, 1);
});
