import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { Icon, Logo, type IconName } from "./icons.tsx";
import { signOut, takeKey, type Session } from "./session.ts";
import { SignIn } from "./signin.tsx";

type View = "chat" | "compare" | "usage" | "admin";
const VIEWS: { view: View; name: string; icon: IconName }[] = [
  { view: "chat", name: "Chat", icon: "chat" },
  { view: "compare", name: "Compare", icon: "columns" },
  { view: "usage", name: "Usage", icon: "chart" },
  { view: "admin", name: "Admin", icon: "key" },
];
type Page = ComponentType<{ session: Session }>;
/** The chat is loaded while the key is tried, so that the first page comes at once. */
const chat = import("./chat.tsx");
chat.catch(() => undefined); // its page says so
/** Pages that are loaded when they are opened. */
const LATER: Record<View, () => Promise<Page>> = {
  chat: () => chat.then((it) => it.Chat),
  compare: () => import("./compare.tsx").then((it) => it.Compare),
  usage: () => import("./usage.tsx").then((it) => it.Usage),
  admin: () => import("./admin.tsx").then((it) => it.Admin),
};

function viewOf(hash: string): View {
  return VIEWS.find((it) => hash === `#${it.view}`)?.view ?? "chat";
}

export function App() {
  const [session, setSession] = useState<Session | null>(null);
  const [given, setGiven] = useState(() => ({ key: takeKey() }));
  const attempt = useRef(0);
  const [left, setLeft] = useState("");
  const [view, setView] = useState<View>(viewOf(location.hash));
  useEffect(() => {
    const moved = (): void => {
      if (location.hash.startsWith("#key=")) {
        // A link with a key, opened in this tab.
        setSession(null);
        setLeft("");
        attempt.current += 1;
        setGiven({ key: takeKey() });
      }
      setView(viewOf(location.hash));
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  if (!session)
    return (
      <SignIn
        key={attempt.current}
        given={left ? "" : given.key}
        reason={left === "out" ? "" : left}
        onDone={setSession}
      />
    );
  return (
    <div class="shell">
      <header class="top">
        <a class="brand" href="#chat">
          <Logo /> <span>Sluice</span>
        </a>
        <nav aria-label="Pages">
          {VIEWS.map((it) => (
            <a
              key={it.view}
              href={`#${it.view}`}
              aria-current={it.view === view ? "page" : undefined}
            >
              <Icon name={it.icon} /> <span>{it.name}</span>
            </a>
          ))}
        </nav>
        <span class="who" title={`Signed in with the key ${session.owner}`}>
          {session.name || session.owner}
        </span>
        <button
          type="button"
          class="icon-button"
          aria-label="Forget the key"
          title="Forget the key"
          onClick={() => {
            signOut();
            setLeft("out");
            setSession(null);
          }}
        >
          <Icon name="leave" />
        </button>
      </header>
      <main class="page">
        {/* The chat stays, so that an answer goes on while another page is looked at. */}
        <div class="view" hidden={view !== "chat"}>
          <Later load={LATER.chat} session={session} />
        </div>
        {view !== "chat" && <Later key={view} load={LATER[view]} session={session} />}
      </main>
    </div>
  );
}

function Later({ load, session }: { load: () => Promise<Page>; session: Session }) {
  const [Page, setPage] = useState<Page | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    load().then(
      (it) => setPage(() => it),
      () => setFailed(true),
    );
  }, [load]);
  if (failed)
    return (
      <p class="note error" role="alert">
        This page could not be loaded. Load the playground again.
      </p>
    );
  return Page ? <Page session={session} /> : null;
}
