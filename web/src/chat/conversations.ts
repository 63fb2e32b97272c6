// Conversations, in this browser's IndexedDB, by the id of the key that had them.

import type { SavedAnswer } from "./answer.ts";

export interface Parameters {
  model: string;
  instructions: string;
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
  effort: string;
  format: "text" | "json_object" | "json_schema";
  schema: string;
  /** A list of functions, in JSON. */
  tools: string;
}

export interface Turn {
  id: string;
  /** What the person wrote; empty for results of tools. */
  text: string;
  /** Results of tools, by the id of the call. */
  outputs: { callId: string; output: string }[];
  answer: SavedAnswer | null;
  sentAt: number;
}

export interface Conversation {
  id: string;
  owner: string;
  title: string;
  createdAt: number;
  updatedAt: number;
  parameters: Parameters;
  turns: Turn[];
  /** Ids of kept responses that were found at the server, and whose texts are not here yet. */
  remote: string[];
}

const NAME = "sluice-playground";
const STORE = "conversations";
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(NAME) : null;

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STORE, { keyPath: "id" }).createIndex("owner", "owner");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () =>
      reject(
        new Error(
          "Another tab has an older version of this page open. Close it, then reload this one.",
        ),
      );
  });
}

let opened: Promise<IDBDatabase> | null = null;

async function run<T>(
  mode: IDBTransactionMode,
  act: (store: IDBObjectStore) => IDBRequest<T> | void,
): Promise<T | undefined> {
  opened ??= open();
  const database = await opened.catch((error: unknown) => {
    opened = null;
    throw error;
  });
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request ? request.result : undefined);
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Return a key's conversations, the last one first. None, if this browser keeps nothing. */
export async function list(owner: string): Promise<Conversation[]> {
  const found = await run<Conversation[]>("readonly", (store) =>
    store.index("owner").getAll(owner),
  ).catch(() => undefined);
  return (found ?? []).toSorted((a, b) => b.updatedAt - a.updatedAt);
}

export async function get(id: string): Promise<Conversation | null> {
  const found = await run<Conversation>("readonly", (store) => store.get(id)).catch(() => null);
  return found ?? null;
}

/** Keep a conversation, and tell other tabs. Return whether this browser keeps it. */
export async function put(conversation: Conversation): Promise<boolean> {
  try {
    await run("readwrite", (store) => store.put(structuredClone(conversation)));
  } catch {
    return false;
  }
  channel?.postMessage({ id: conversation.id });
  return true;
}

export async function remove(id: string): Promise<void> {
  await run("readwrite", (store) => store.delete(id)).catch(() => undefined);
  channel?.postMessage({ id });
}

/** Call `changed` when another tab has changed a conversation. */
export function onChange(changed: (id: string) => void): () => void {
  const listener = (event: MessageEvent<{ id: string }>): void => changed(event.data.id);
  channel?.addEventListener("message", listener);
  return () => channel?.removeEventListener("message", listener);
}

/** Return whether a conversation has a text, in any case. */
export function matches(conversation: Conversation, wanted: string): boolean {
  const text = wanted.trim().toLowerCase();
  if (!text) return true;
  return (
    conversation.title.toLowerCase().includes(text) ||
    conversation.turns.some(
      (turn) =>
        turn.text.toLowerCase().includes(text) ||
        turn.answer?.items.some((item) => item.text.toLowerCase().includes(text)),
    )
  );
}

export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > 60 ? `${[...line].slice(0, 58).join("")}…` : line || "New conversation";
}

/** Return a conversation as Markdown. */
export function exported(conversation: Conversation): string {
  const parts = [`# ${conversation.title}`];
  for (const turn of conversation.turns) {
    if (turn.text) parts.push(`## You\n\n${turn.text}`);
    for (const { callId, output } of turn.outputs) {
      parts.push(`## Result of ${callId}\n\n\`\`\`\n${output}\n\`\`\``);
    }
    if (turn.answer) {
      const texts = turn.answer.items.map((item) =>
        item.kind === "call"
          ? `\`${item.name}(${item.text})\``
          : item.kind === "reasoning"
            ? `> ${item.text.replaceAll("\n", "\n> ")}`
            : item.text,
      );
      parts.push(`## ${turn.answer.model}\n\n${texts.join("\n\n")}`);
    }
  }
  return `${parts.join("\n\n")}\n`;
}
