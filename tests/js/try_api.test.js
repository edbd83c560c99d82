import assert from "node:assert/strict";
import { test } from "node:test";

import { readable, requestOf } from "../../static/js/try_api.js";

const field = (where, name, value) => ({ where, name, value });

test("fields go where they belong, and empty ones nowhere", () => {
  const fields = [
    field("path", "turn", "a/b"),
    field("query", "limit", "5"),
    field("query", "other", ""),
    field("header", "Last-Event-ID", "x:1"),
  ];
  const [address, options] = requestOf("GET", "/chat/{turn}", fields);
  assert.equal(address, "/chat/a%2Fb?limit=5");
  assert.equal(options.headers.get("Last-Event-ID"), "x:1");
  assert.equal(options.body, undefined);
});

test("a pasted token is sent in the header alone, without the session", () => {
  const [address, options] = requestOf("POST", "/task", [field("body", undefined, "{}")], {
    token: "ctx_1",
    csrf: "c",
  });
  assert.equal(address, "/task");
  assert.equal(options.credentials, "omit");
  assert.equal(options.headers.get("Authorization"), "Bearer ctx_1");
  assert.equal(options.headers.get("X-CSRFToken"), null);
  assert.equal(options.body, "{}");
});

test("the session shows the CSRF token with what changes something", () => {
  const [, changing] = requestOf("POST", "/task", [], { csrf: "c" });
  assert.equal(changing.credentials, "same-origin");
  assert.equal(changing.headers.get("X-CSRFToken"), "c");
  const [, reading] = requestOf("GET", "/status", [], { csrf: "c" });
  assert.equal(reading.headers.get("X-CSRFToken"), null);
});

test("JSON is shown on lines of its own, everything else as it came", () => {
  assert.equal(readable('{"a":1}', "application/json"), '{\n  "a": 1\n}');
  assert.equal(readable("{", "application/json"), "{");
  assert.equal(readable('{"a":1}', "text/event-stream"), '{"a":1}');
});
