// Follows the end of a list that grows, until the reader scrolls away from it.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

// The list is the first child of the element that scrolls, and stays there.

/** In pixels: the reader is at the end. */
const NEAR = 48;

/** With `on` false, the list stays at its beginning. */
export function useFollow(on = true) {
  const root = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const active = useRef(on);
  active.current = on;
  const [away, setAway] = useState(false);

  const toEnd = useCallback((smooth = false) => {
    const element = root.current;
    if (!element) return;
    follows.current = true;
    setAway(false);
    if (!active.current) return void (element.scrollTop = 0);
    const moves = smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    element.scrollTo({ top: element.scrollHeight, behavior: moves ? "smooth" : "auto" });
  }, []);

  useEffect(() => {
    const element = root.current;
    if (!element) return;
    let last = element.scrollTop;
    const near = (): boolean =>
      element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
    const scrolled = (): void => {
      // Text that grows moves the end away, not the reader.
      if (element.scrollTop < last - 2 && !near()) {
        follows.current = false;
        setAway(true);
      } else if (near()) {
        follows.current = true;
        setAway(false);
      }
      last = element.scrollTop;
    };
    // It is called when the layout is done, before the frame is painted.
    const grown = new ResizeObserver(() => {
      if (follows.current && active.current) element.scrollTop = element.scrollHeight;
      last = element.scrollTop;
    });
    if (element.firstElementChild) grown.observe(element.firstElementChild);
    grown.observe(element);
    element.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      element.removeEventListener("scroll", scrolled);
      grown.disconnect();
    };
  }, []);

  return { root, away, toEnd };
}
