// Times in the chat are written as on every other page, whatever the browser's language.

import assert from "node:assert/strict";
import { test } from "node:test";

import { showLocalTime } from "../../static/js/times.js";

function shown(at) {
  const time = { dateTime: at.toISOString() };
  showLocalTime(time);
  return time;
}

test("an evening has 24 hours, and midnight is 00", () => {
  const evening = new Date();
  evening.setHours(18, 44, 5);
  assert.equal(shown(evening).textContent, "18:44");
  evening.setHours(0, 7);
  assert.equal(shown(evening).textContent, "00:07");
});

test("another day is named, the exact time is told on hover", () => {
  const { textContent, title } = shown(new Date(2025, 2, 5, 18, 44, 5));
  assert.equal(textContent, "5 Mar, 18:44");
  assert.match(title, /^5 Mar 2025, 18:44:05$/);
});

test("what is no time stays", () => {
  const time = { dateTime: "", textContent: "just now" };
  showLocalTime(time);
  assert.equal(time.textContent, "just now");
});
