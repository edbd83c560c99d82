// Answers that began elsewhere: none is overlooked, and none replaces what is written.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Arrivals } from "../../static/js/arrivals.js";

let shown;
let stored;
let busy;
let refreshed;
let announced;
let arrivals;

beforeEach(() => {
  globalThis.CSS = { escape: (text) => text };
  shown = new Map();
  stored = new Map();
  busy = false;
  refreshed = 0;
  announced = [];
  const thread = { querySelector: (selector) => shown.get(/"(.*)"/.exec(selector)[1]) ?? null };
  arrivals = new Arrivals(thread, {
    isBusy: () => busy,
    async refresh() {
      refreshed += 1;
      shown = new Map(stored);
    },
    announce: (article) => announced.push(article.dataset.id),
  });
});

function store(id, state) {
  stored.set(id, { dataset: { id, state } });
}

test("an answer that is being written is fetched and followed, not announced", async () => {
  store("t1", "generating");
  await arrivals.came("t1");
  assert.equal(refreshed, 1);
  assert.deepEqual(announced, []);
});

test("an answer that had ended before it was seen is announced", async () => {
  store("t1", "complete");
  await arrivals.came("t1");
  assert.deepEqual(announced, ["t1"]);
});

test("an answer of this tab is in the page already", async () => {
  store("t1", "generating");
  shown = new Map(stored);
  await arrivals.came("t1");
  assert.equal(refreshed, 0);
});

test("what comes while an answer is written here is fetched after it, once", async () => {
  busy = true;
  store("t2", "complete");
  await arrivals.came("t2");
  assert.equal(refreshed, 0);
  busy = false;
  await arrivals.idle();
  await arrivals.idle();
  assert.equal(refreshed, 1);
  assert.deepEqual(announced, ["t2"]);
});

test("the note of the tab's own answer fetches nothing when it has ended", async () => {
  busy = true;
  await arrivals.came("t1");
  shown.set("t1", { dataset: { id: "t1", state: "complete" } });
  busy = false;
  await arrivals.idle();
  assert.equal(refreshed, 0);
});
