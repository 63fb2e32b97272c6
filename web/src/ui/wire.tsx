import { useEffect, useRef, useState } from "preact/hooks";

import { SNIPPETS } from "../chat/request.ts";
import type { Wire } from "../chat/wire.ts";
import { copyText } from "../render/code.ts";
import { forget, inFrame } from "../render/frames.ts";
import { Icon } from "./icons.tsx";

const NAMES = ["Events", ...Object.keys(SNIPPETS)] as const;

/** What went over the network for an answer, and the same request for other programs. */
export function WireDrawer({ wire, onClose }: { wire: Wire; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState<string>("Events");
  const [copied, setCopied] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const { request } = wire;
  const snippet =
    request && name !== "Events"
      ? SNIPPETS[name]?.(location.origin + request.path, request.body)
      : null;
  return (
    <dialog
      ref={dialog}
      class="drawer"
      aria-label="The wire"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div class="drawer-body">
        <header>
          <h2>Wire</h2>
          <button
            type="button"
            class="icon-button"
            aria-label="Close"
            onClick={() => dialog.current?.close()}
          >
            <Icon name="close" />
          </button>
        </header>
        <div class="tabs">
          <div role="tablist" aria-label="Form" onKeyDown={moveTab}>
            {NAMES.map((it) => (
              <button
                key={it}
                type="button"
                role="tab"
                aria-selected={it === name}
                tabIndex={it === name ? 0 : -1}
                disabled={it !== "Events" && !request}
                onClick={() => setName(it)}
              >
                {it}
              </button>
            ))}
          </div>
          <button
            type="button"
            class="quiet end"
            onClick={() =>
              void copyText(snippet ?? wire.text).then((done) => {
                setCopied(done);
                setTimeout(() => setCopied(false), 1500);
              })
            }
          >
            {copied ? "Copied" : "Copy"}
          </button>
        </div>
        {snippet !== null ? (
          <pre class="raw" tabIndex={0}>
            {snippet}
          </pre>
        ) : (
          <Raw wire={wire} />
        )}
        <p class="hint">
          {name === "Events"
            ? "As it came. This tab forgets it when it is closed."
            : "The key is not part of it: the program reads it from OPENAI_API_KEY."}
        </p>
      </div>
    </dialog>
  );
}

/** The arrow keys move between tabs. */
function moveTab(event: KeyboardEvent): void {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const list = event.currentTarget as HTMLElement;
  const tabs = [...list.querySelectorAll<HTMLButtonElement>("[role=tab]:enabled")];
  const at = tabs.indexOf(document.activeElement as HTMLButtonElement);
  if (!step || at < 0) return;
  const next = tabs[(at + step + tabs.length) % tabs.length];
  next?.focus();
  next?.click();
}

function Raw({ wire }: { wire: Wire }) {
  const root = useRef<HTMLPreElement>(null);
  useEffect(() => {
    const element = root.current;
    if (!element) return;
    let seen = 0;
    const draw = (): void => {
      const below = element.scrollHeight - element.scrollTop - element.clientHeight;
      if (wire.text.length > seen) element.append(wire.text.slice(seen));
      seen = wire.text.length;
      if (below < 40) element.scrollTop = element.scrollHeight;
    };
    element.replaceChildren();
    draw();
    element.scrollTop = 0;
    const off = wire.listen(() => inFrame(element, draw));
    return () => {
      off();
      forget(element);
    };
  }, [wire]);
  return (
    <>
      <pre class="raw" ref={root} tabIndex={0} aria-label="Raw events" />
      {wire.text === "" && (
        <p class="hint">The events of this answer came before the page was loaded.</p>
      )}
      {wire.dropped > 0 && (
        <p class="hint">{wire.dropped.toLocaleString("en")} more characters came.</p>
      )}
    </>
  );
}
