import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError } from "../api/client.ts";
import { failureOf } from "../chat/run.ts";
import { Logo } from "./icons.tsx";
import { signIn, signOut, type Session } from "./session.ts";

/** Asks for a key, or tries the one that the link or this tab has. */
export function SignIn({
  given,
  reason,
  onDone,
}: {
  given: string;
  reason: string;
  onDone: (session: Session) => void;
}) {
  const [key, setKey] = useState("");
  const [trying, setTrying] = useState(Boolean(given));
  const [problem, setProblem] = useState(reason);
  const field = useRef<HTMLInputElement>(null);

  const enter = async (entered: string): Promise<void> => {
    setTrying(true);
    setProblem("");
    try {
      onDone(await signIn(entered.trim()));
    } catch (error) {
      if (error instanceof ApiError && (error.status === 401 || error.status === 403)) signOut();
      setProblem(failureOf(error).message);
      setTrying(false);
    }
  };
  useEffect(() => {
    if (given) void enter(given);
    else field.current?.focus();
  }, []);

  // As in index.html: nothing flickers when a link has a key that is right.
  if (trying && given && !key)
    return (
      <main class="splash">
        <Logo />
        <h1>Sluice</h1>
      </main>
    );
  return (
    <main class="signin">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim()) void enter(key);
        }}
      >
        <Logo />
        <h1>Sluice</h1>
        <p>Chat with the models of this deployment.</p>
        <label>
          <span>API key</span>
          <input
            ref={field}
            type="password"
            autocomplete="off"
            spellcheck={false}
            placeholder="sk-…"
            value={key}
            disabled={trying}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        {problem && (
          <p class="note error" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" class="primary" disabled={trying || !key.trim()}>
          {trying ? "Signing in…" : "Continue"}
        </button>
        <p class="hint">
          The key stays in this tab and is forgotten when you close it. On the machine that deployed
          this, <code>sluice playground</code> opens this page with a key.
        </p>
      </form>
    </main>
  );
}
