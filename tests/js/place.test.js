// Where a message goes to: only the first one of a chat can make it temporary.

import assert from "node:assert/strict";
import { test } from "node:test";

import { newChatKey, placeOf } from "../../static/js/place.js";

test("the first message of a temporary chat says so, no other does", () => {
  const page = { persona: "inara", conversation: "", temporary: "" };
  assert.deepEqual(placeOf(page), { persona: "inara", conversation: null, temporary: true });
  assert.deepEqual(
    placeOf({ ...page, conversation: "c1" }),
    { persona: "inara", conversation: "c1" },
  );
  assert.deepEqual(
    placeOf({ persona: "inara", conversation: "" }),
    { persona: "inara", conversation: null },
  );
});

test("drafts of both kinds of new chats are kept apart", () => {
  const places = [newChatKey({ persona: "inara" }), newChatKey({ persona: "inara", temporary: "" })];
  assert.notEqual(...places);
  assert.ok(places.every((place) => place.startsWith("new:")));
});
