// Draws at most once a frame, and takes at most a fifth of the time for it.

const waiting = new Map<object, () => void>();
let scheduled = false;
let notBefore = 0;

/** Call `draw` in the next frame. Of several calls for one `owner`, the last counts. */
export function inFrame(owner: object, draw: () => void): void {
  waiting.set(owner, draw);
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(run);
  }
}

/** Forget what `owner` wanted to draw. */
export function forget(owner: object): void {
  waiting.delete(owner);
}

function run(now: number): void {
  if (now < notBefore) {
    requestAnimationFrame(run);
    return;
  }
  scheduled = false;
  const draws = [...waiting.values()];
  waiting.clear();
  const began = performance.now();
  for (const draw of draws) draw();
  const took = performance.now() - began;
  notBefore = took > 4 ? performance.now() + took * 4 : 0;
}
