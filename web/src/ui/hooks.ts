import { useEffect, useReducer, useRef } from "preact/hooks";

import type { Answer } from "../chat/answer.ts";
import { forget, inFrame } from "../render/frames.ts";

/** Draw the component again in the next frame after `answer` has changed its shape. */
export function useAnswer(answer: Answer | null): void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const owner = useRef({}).current;
  useEffect(() => {
    if (!answer) return;
    const off = answer.listen((change) => {
      if (change === "shape") inFrame(owner, () => redraw(undefined));
    });
    // What has changed before this effect ran.
    redraw(undefined);
    return () => {
      off();
      forget(owner);
    };
  }, [answer]);
}

/** Return a function that draws the component again. */
export function useRedraw(): () => void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  return () => redraw(undefined);
}
