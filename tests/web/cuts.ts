// Cuts of a text, as a network makes them. The seed is printed with a failure, so it can be repeated.

export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Return `text` in pieces of up to 30 characters, which `seed` chooses. */
export function cutBy(seed: number, text: string): string[] {
  const next = random(seed);
  const pieces: string[] = [];
  for (let at = 0; at < text.length;) {
    const size = 1 + Math.floor(next() ** 3 * 30);
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

/** Return `text` whole, character by character, and in 60 random ways. */
export function cutsOf(text: string): [seed: number, pieces: string[]][] {
  const found: [number, string[]][] = [
    [-1, [text]],
    [-2, Array.from({ length: text.length }, (_, at) => text[at] as string)],
  ];
  for (let seed = 1; seed <= 60; seed += 1) found.push([seed, cutBy(seed, text)]);
  return found;
}
