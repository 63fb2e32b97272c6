import assert from "node:assert/strict";
import { test } from "node:test";

import type { Conversation } from "../../web/src/chat/conversations.ts";
import { joined } from "../../web/src/chat/joined.ts";

/** Return a conversation with these members, which are all that counts here. */
function conversation(id: string, updatedAt: number, title: string): Conversation {
  return { id, updatedAt, title } as Conversation;
}

test("what was asked before the database has answered stays in the list", () => {
  const asked = conversation("b", 5, "asked meanwhile");
  const stored = [conversation("c", 9, "newer"), conversation("b", 4, "as stored")];
  const list = joined([asked], [...stored, conversation("a", 1, "older")]);
  assert.deepEqual(
    list.map((it) => it.title),
    ["newer", "asked meanwhile", "older"],
  );
  assert.equal(list[1], asked);
});
