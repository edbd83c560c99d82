// What is too long to be sent is said in one sentence, and counted as the server does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { MAX_TEXT_CHARS, tooLong } from "../../static/js/length.js";

test("a long text is named with its length and with what fits", () => {
  assert.equal(tooLong("a".repeat(MAX_TEXT_CHARS)), "");
  assert.match(tooLong("a".repeat(2_000_000)), /2,000,000 characters and 32,000 fit.*Nothing was cut/);
});

test("an emoji is one character", () => {
  assert.equal(tooLong("😀".repeat(MAX_TEXT_CHARS)), "");
  assert.notEqual(tooLong("😀".repeat(MAX_TEXT_CHARS + 1)), "");
});

test("the server has the same limit", () => {
  const path = new URL("../../channels_app/turn_requests.py", import.meta.url);
  const [, limit] = readFileSync(path, "utf8").match(/^MAX_TEXT_CHARS = ([0-9_]+)$/m);
  assert.equal(Number(limit.replaceAll("_", "")), MAX_TEXT_CHARS);
});
