import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";

import type { Conversation } from "../../web/src/chat/conversations.ts";
import type { Session } from "../../web/src/ui/session.ts";

/** What IndexedDB answers to the reads that are asked for, once `answer` is called. */
class Database {
  stored: Conversation | undefined;
  asked: (() => void)[] = [];

  request(result: unknown): object {
    const request = { result, onsuccess: (): void => undefined };
    queueMicrotask(() => request.onsuccess());
    return request;
  }

  transaction(): object {
    const transaction = {
      oncomplete: (): void => undefined,
      objectStore: () => ({ get: () => ({ result: this.stored }) }),
    };
    this.asked.push(() => transaction.oncomplete());
    return transaction;
  }
}

/** A channel that does not keep the process of the tests alive. */
class Channel extends BroadcastChannel {
  constructor(name: string) {
    super(name);
    (this as unknown as { unref: () => void }).unref();
  }
}

const database = new Database();
Object.assign(globalThis, {
  BroadcastChannel: Channel,
  indexedDB: { open: () => database.request(database) },
});
const { Threads } = await import("../../web/src/chat/threads.ts");

test("a conversation of which another tab tells twice is in the list once", async () => {
  const session = { owner: "key" } as Session;
  let changed = (): void => undefined;
  const threads = new Threads(session, () => changed());
  const other = new BroadcastChannel("sluice-playground");
  database.stored = { id: "a", owner: "key", updatedAt: 1, turns: [] as object[] } as Conversation;
  other.postMessage({ id: "a" });
  other.postMessage({ id: "a" });
  while (database.asked.length < 2) await setImmediate();
  const told = new Promise<void>((resolve) => void (changed = resolve));
  for (const answer of database.asked) answer();
  await told;
  await setImmediate();
  assert.deepEqual(
    threads.list.map((it) => it.id),
    ["a"],
  );
  threads.close();
  other.close();
});
