// Who answers: choices are kept in their order, and what could not be kept is put back.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { keepPolicy } from "../../static/js/policy.js";

let calls;
let told;
let composer;
let kept;

/** A picker that remembers what it was told. */
class FakeComposer extends EventTarget {
  saved = "tier:3";
  shown = "tier:3";

  pick(route) {
    this.shown = route;
    this.dispatchEvent(new CustomEvent("route", { detail: route }));
  }

  routeSaved(route) {
    this.saved = route;
  }

  routeRefused(route) {
    if (this.shown !== route) return false;
    this.shown = this.saved;
    return true;
  }
}

/** Let everything run that needs no answer. */
function settled() {
  return new Promise((resolve) => { setImmediate(resolve); });
}

beforeEach(() => {
  calls = [];
  told = [];
  composer = new FakeComposer();
  globalThis.document = { querySelector: () => ({ value: "token" }) };
  globalThis.fetch = (path, { body }) => new Promise((resolve) => {
    calls.push({ path, route: body.get("route"), answer: (status) => resolve({ status }) });
  });
  kept = keepPolicy(composer, () => "c1", (text) => told.push(text));
});

test("two quick choices are saved one after the other", async () => {
  composer.pick("tier:1");
  composer.pick("");
  await settled();
  assert.deepEqual(calls.map(({ route }) => route), ["tier:1"]);
  calls[0].answer(204);
  await settled();
  assert.deepEqual(calls.map(({ route }) => route), ["tier:1", ""]);
  calls[1].answer(204);
  assert.equal(await kept(), true);
  assert.equal(composer.saved, "");
  assert.deepEqual(told, []);
});

test("a choice that could not be kept is put back and said", async () => {
  composer.pick("");
  await settled();
  calls[0].answer(503);
  assert.equal(await kept(), false);
  assert.equal(composer.shown, "tier:3");
  assert.equal(told.length, 1);
});

test("a choice that was replaced meanwhile is not put back", async () => {
  composer.pick("");
  composer.pick("tier:1");
  await settled();
  calls[0].answer(503);
  await settled();
  assert.equal(composer.shown, "tier:1");
  assert.deepEqual(told, []);
  calls[1].answer(204);
  assert.equal(await kept(), true);
  assert.equal(composer.saved, "tier:1");
});
