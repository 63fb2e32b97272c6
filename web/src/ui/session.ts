// Who is signed in: a key, what it may use, and what the deployment keeps.

import { models, usage, type Kept, type Model } from "../api/client.ts";
import type { Comparison } from "../chat/comparison.ts";

export interface Session {
  key: string;
  /** The public part of the key; conversations belong to it. */
  owner: string;
  name: string;
  models: Model[];
  kept: Kept;
  /** What the page Compare has, once it was opened. */
  comparison?: Comparison;
}

const NAME = "sluice-key";
/** The name of the comparison that this tab has kept. */
export const COMPARISON = "sluice-comparison";

/**
 * Return the key of the link that led here, else that of this tab. A key in the fragment is taken
 * out of the address at once, so that it is neither in the history nor in a bookmark.
 */
export function takeKey(): string {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (found?.[1]) {
    history.replaceState(null, "", `${location.pathname}${location.search}`);
    try {
      return decodeURIComponent(found[1]);
    } catch {
      return "";
    }
  }
  return keyOf();
}

/** Return the key of this tab; empty if it has none. */
export function keyOf(): string {
  return sessionStorage.getItem(NAME) ?? "";
}

/** Ask the API who the key is. Throws ApiError or NetworkError. */
export async function signIn(key: string): Promise<Session> {
  const [about, served] = await Promise.all([usage(key), models(key)]);
  sessionStorage.setItem(NAME, key);
  return {
    key,
    owner: about.key.id,
    name: about.key.name,
    models: served.data,
    kept: served.sluice ?? { persistence: "off" },
  };
}

/** Forget the key, and everything else that this tab has kept. */
export function signOut(): void {
  sessionStorage.clear();
}
