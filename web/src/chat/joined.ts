// The list of conversations while the browser's database is read. Pure.

import type { Conversation } from "./conversations.ts";

/** Return these conversations and the stored ones that are not among them, the newest first. */
export function joined(here: Conversation[], stored: Conversation[]): Conversation[] {
  const known = new Set(here.map((it) => it.id));
  const others = stored.filter((it) => !known.has(it.id));
  return [...here, ...others].toSorted((a, b) => b.updatedAt - a.updatedAt);
}
