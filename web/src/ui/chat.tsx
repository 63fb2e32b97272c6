import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import {
  exported,
  matches,
  type Conversation,
  type Parameters,
  type Turn,
} from "../chat/conversations.ts";
import { Threads, type Live } from "../chat/threads.ts";
import { copyText } from "../render/code.ts";
import type { Wire } from "../chat/wire.ts";
import { AnswerView } from "./answer.tsx";
import { useAnswer, useRedraw } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { ModelChoice, ParameterFields } from "./parameters.tsx";
import { useFollow } from "./scroll.ts";
import type { Session } from "./session.ts";
import { loadMarkdown } from "./streamed.tsx";
import { WireDrawer } from "./wire.tsx";

const IDEAS = [
  "Why stream tokens?",
  "What is Sluice?",
  "Write a list of three rivers.",
  "Count to ten.",
];

export function Chat({ session }: { session: Session }) {
  const redraw = useRedraw();
  const [menu, setMenu] = useState(false);
  const [threads] = useState(() => new Threads(session, redraw));
  const [parameters, setParameters] = useState<Parameters>(() => threads.defaults());
  const [panel, setPanel] = useState(false);
  const [wire, setWire] = useState<Wire | null>(null);
  const { open } = threads;
  const follow = useFollow(Boolean(open?.turns.length));
  const scrim = useRef<HTMLDivElement>(null);
  const last = open?.turns.at(-1);
  const live = last ? threads.live(last) : null;
  useAnswer(live?.answer ?? null);
  const busy = threads.busy;

  useEffect(() => {
    void threads.load();
    // Before the first answer comes, and after what is seen at once.
    const later = setTimeout(() => void loadMarkdown(), 200);
    return () => {
      clearTimeout(later);
      threads.close();
    };
  }, [threads]);
  useLayoutEffect(() => {
    setParameters(open ? open.parameters : threads.defaults());
  }, [open?.id]);
  useLayoutEffect(() => follow.toEnd(), [open?.id, last?.id]);
  // What is opened takes the focus, and gives it back to its button.
  const menuButton = useRef<HTMLButtonElement>(null);
  const panelButton = useRef<HTMLButtonElement>(null);
  const panelRoot = useRef<HTMLElement>(null);
  useEffect(() => {
    if (panel) panelRoot.current?.focus();
  }, [panel]);
  const closeMenu = (): void =>
    setMenu((was) => {
      if (was) menuButton.current?.focus();
      return false;
    });
  const closePanel = (): void =>
    setPanel((was) => {
      if (was) panelButton.current?.focus();
      return false;
    });
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        // What lies over the conversation goes first.
        if (scrim.current?.checkVisibility()) {
          closeMenu();
          closePanel();
        } else if (threads.busy) threads.stop();
        else return;
        event.preventDefault();
      }
      if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        threads.start();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [threads]);

  const pick = (id: string): void => {
    setMenu(false);
    void threads.show(id);
  };
  const send = (text: string, outputs: Turn["outputs"] = []): Promise<boolean> => {
    follow.toEnd();
    return threads.send(text, parameters, outputs);
  };

  return (
    <div class={`chat ${panel ? "with-panel" : ""}`}>
      <Sidebar
        threads={threads}
        session={session}
        open={menu}
        onPick={pick}
        onClose={() => setMenu(false)}
      />
      <section class="main" aria-label="Conversation">
        <div class="bar">
          <button
            type="button"
            class="icon-button narrow-only"
            ref={menuButton}
            aria-label="Conversations"
            aria-expanded={menu}
            onClick={() => setMenu(!menu)}
          >
            <Icon name="menu" />
          </button>
          <ModelChoice value={parameters} models={session.models} onChange={setParameters} />
          <h1 class="title" title={open?.title}>
            {open?.title ?? "New conversation"}
          </h1>
          <button
            type="button"
            class="icon-button wide-only"
            aria-label="Wire of the last answer"
            title="Wire of the last answer"
            disabled={!live}
            onClick={() => live && setWire(live.wire)}
          >
            <Icon name="wire" />
          </button>
          <button
            type="button"
            class="icon-button"
            aria-label="Export as Markdown"
            title="Export as Markdown"
            disabled={!open}
            onClick={() => open && download(open)}
          >
            <Icon name="download" />
          </button>
          <button
            type="button"
            class="icon-button"
            ref={panelButton}
            aria-label="Parameters"
            title="Parameters"
            aria-expanded={panel}
            onClick={() => setPanel(!panel)}
          >
            <Icon name="sliders" />
          </button>
        </div>
        <div class="scroll" ref={follow.root} tabIndex={-1}>
          <div class="inner">
            {!open || open.turns.length === 0 ? (
              <Welcome
                session={session}
                onIdea={(text) => void send(text)}
                loading={Boolean(open?.remote.length)}
              />
            ) : (
              <ol class="thread" aria-label="Messages">
                {open.turns.map((turn) => (
                  <TurnView
                    key={turn.id}
                    turn={turn}
                    live={threads.live(turn)}
                    last={turn === last}
                    busy={busy}
                    session={session}
                    json={open.parameters.format !== "text"}
                    onAgain={(text) => void threads.again(turn, text)}
                    onOutputs={(outputs) => void send("", outputs)}
                    onWire={setWire}
                  />
                ))}
              </ol>
            )}
          </div>
        </div>
        <div class="foot">
          {follow.away && (
            <button type="button" class="jump" onClick={() => follow.toEnd(true)}>
              <Icon name="down" /> Latest
            </button>
          )}
          {threads.problem && (
            <p class="note error" role="alert">
              {threads.problem}
            </p>
          )}
          {!threads.keeps && (
            <p class="note warn">
              This browser keeps no conversations; a reload loses what is here.
            </p>
          )}
          <Composer
            busy={busy}
            onSend={send}
            onStop={() => threads.stop()}
            model={parameters.model}
          />
        </div>
      </section>
      {(panel || menu) && (
        <div
          class="scrim"
          ref={scrim}
          onClick={() => {
            closePanel();
            closeMenu();
          }}
        />
      )}
      {panel && (
        <aside class="panel" aria-label="Parameters" ref={panelRoot} tabIndex={-1}>
          <header>
            <h2>Parameters</h2>
            <button type="button" class="icon-button" aria-label="Close" onClick={closePanel}>
              <Icon name="close" />
            </button>
          </header>
          <ParameterFields value={parameters} models={session.models} onChange={setParameters} />
        </aside>
      )}
      {wire && <WireDrawer wire={wire} onClose={() => setWire(null)} />}
      <p class="hidden" role="status" aria-live="polite">
        {threads.announcement}
      </p>
    </div>
  );
}

function Welcome({
  session,
  onIdea,
  loading,
}: {
  session: Session;
  onIdea: (text: string) => void;
  loading: boolean;
}) {
  if (loading) return <p class="welcome">Reading the conversation…</p>;
  const { kept } = session;
  return (
    <div class="welcome">
      <h2>What would you like to ask?</h2>
      <div class="ideas">
        {IDEAS.map((text) => (
          <button key={text} type="button" onClick={() => onIdea(text)}>
            {text}
          </button>
        ))}
      </div>
      <p class="hint">
        {kept.persistence === "off"
          ? "This deployment keeps no answers. Conversations are in this browser only, and an answer that breaks off cannot be resumed."
          : `This deployment keeps questions and answers for ${kept.response_days} days, and what is needed to resume one for ${kept.log_hours} hours. This browser keeps a copy until you delete it.`}
      </p>
    </div>
  );
}

function Sidebar(props: {
  threads: Threads;
  session: Session;
  open: boolean;
  onPick: (id: string) => void;
  onClose: () => void;
}) {
  const { threads, open, onPick, onClose } = props;
  const [search, setSearch] = useState("");
  const [asked, setAsked] = useState("");
  const [problem, setProblem] = useState("");
  const [working, setWorking] = useState(false);
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (open) first.current?.focus();
  }, [open]);
  const shown = threads.list.filter((it) => matches(it, search));
  const remove = async (act: () => Promise<string>): Promise<void> => {
    setWorking(true);
    setProblem(await act());
    setWorking(false);
    setAsked("");
  };
  return (
    <nav class={`sidebar ${open ? "open" : ""}`} aria-label="Conversations">
      <button
        type="button"
        class="new"
        ref={first}
        onClick={() => {
          threads.start();
          onClose();
        }}
      >
        <Icon name="plus" /> New conversation
      </button>
      <label class="search">
        <Icon name="search" />
        <input
          type="search"
          placeholder="Search"
          aria-label="Search conversations"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
      </label>
      <ul class="conversations">
        {shown.map((it) => (
          <li key={it.id} class={it === threads.open ? "current" : ""}>
            {asked === it.id ? (
              <span class="sure">
                Delete?
                <button
                  type="button"
                  class="danger"
                  disabled={working}
                  onClick={() => void remove(() => threads.remove(it))}
                >
                  Delete
                </button>
                <button type="button" class="quiet" onClick={() => setAsked("")}>
                  Keep
                </button>
              </span>
            ) : (
              <>
                <button
                  type="button"
                  class="pick"
                  title={it.title}
                  aria-current={it === threads.open ? "true" : undefined}
                  onClick={() => onPick(it.id)}
                >
                  {it.title}
                </button>
                <button
                  type="button"
                  class="icon-button small"
                  aria-label={`Delete ${it.title}`}
                  onClick={() => setAsked(it.id)}
                >
                  <Icon name="trash" />
                </button>
              </>
            )}
          </li>
        ))}
        {shown.length === 0 && (
          <li class="none">
            {search ? "No conversation has this text." : "No conversations yet."}
          </li>
        )}
      </ul>
      {problem && (
        <p class="note error" role="alert">
          {problem}
        </p>
      )}
      {(threads.list.length > 0 || props.session.kept.persistence !== "off") && (
        <div class="all">
          {asked === "all" ? (
            <span class="sure">
              Delete all, here and at the deployment?
              <button
                type="button"
                class="danger"
                disabled={working}
                onClick={() => void remove(() => threads.removeAll())}
              >
                {working ? "Deleting…" : "Delete all"}
              </button>
              <button type="button" class="quiet" onClick={() => setAsked("")}>
                Keep
              </button>
            </span>
          ) : (
            <button type="button" class="quiet" onClick={() => setAsked("all")}>
              Delete all my data
            </button>
          )}
        </div>
      )}
    </nav>
  );
}

interface TurnProps {
  turn: Turn;
  live: Live;
  last: boolean;
  busy: boolean;
  session: Session;
  json: boolean;
  onAgain: (text?: string) => void;
  onOutputs: (outputs: Turn["outputs"]) => void;
  onWire: (wire: Wire) => void;
}

function TurnView({
  turn,
  live,
  last,
  busy,
  session,
  json,
  onAgain,
  onOutputs,
  onWire,
}: TurnProps) {
  const [editing, setEditing] = useState(false);
  const [copied, setCopied] = useState(false);
  const { answer } = live;
  useAnswer(answer);
  return (
    <li class="turn">
      {editing ? (
        <Edit
          text={turn.text}
          onCancel={() => setEditing(false)}
          onSend={(text) => {
            setEditing(false);
            onAgain(text);
          }}
        />
      ) : (
        turn.text && (
          <div class="asked" role="group" aria-label="Question">
            <p dir="auto">{turn.text}</p>
            {!busy && (
              <button
                type="button"
                class="icon-button small"
                aria-label="Edit and send again"
                title="Edit and send again"
                onClick={() => setEditing(true)}
              >
                <Icon name="edit" />
              </button>
            )}
          </div>
        )
      )}
      {turn.outputs.map(({ callId, output }) => (
        <div class="asked output" key={callId}>
          <p>
            <span class="tag">result</span> {output}
          </p>
        </div>
      ))}
      {answer && (
        <>
          <AnswerView answer={answer} models={session.models} json={json} />
          {!answer.running && (
            <div class="actions">
              {answer.text && (
                <button
                  type="button"
                  class="quiet"
                  onClick={() =>
                    void copyText(answer.text).then((done) => {
                      setCopied(done);
                      setTimeout(() => setCopied(false), 1500);
                    })
                  }
                >
                  <Icon name="copy" /> {copied ? "Copied" : "Copy"}
                </button>
              )}
              <button type="button" class="quiet" onClick={() => onWire(live.wire)}>
                <Icon name="wire" /> Wire
              </button>
              {/* The last one, because it leaves when another question is asked. */}
              {last && (
                <button type="button" class="quiet" onClick={() => onAgain()}>
                  <Icon name="retry" />{" "}
                  {answer.status === "failed" || answer.status === "interrupted"
                    ? "Retry"
                    : "Regenerate"}
                </button>
              )}
            </div>
          )}
          {last && answer.status === "completed" && answer.calls.length > 0 && (
            <Results live={live} onSend={onOutputs} />
          )}
        </>
      )}
    </li>
  );
}

function Edit({
  text,
  onSend,
  onCancel,
}: {
  text: string;
  onSend: (text: string) => void;
  onCancel: () => void;
}) {
  const [value, setValue] = useState(text);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <form
      class="edit"
      onSubmit={(event) => {
        event.preventDefault();
        if (value.trim()) onSend(value);
      }}
    >
      <textarea
        ref={field}
        aria-label="Your message"
        rows={Math.min(10, value.split("\n").length + 1)}
        value={value}
        onInput={(event) => setValue(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            onCancel();
          }
        }}
      />
      <div class="actions">
        <button type="submit" class="primary">
          Send again
        </button>
        <button type="button" class="quiet" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}

/** Fields for the results of the tools that the model has called. */
function Results({ live, onSend }: { live: Live; onSend: (outputs: Turn["outputs"]) => void }) {
  const calls = live.answer?.calls ?? [];
  const [values, setValues] = useState<Record<string, string>>({});
  return (
    <form
      class="results"
      onSubmit={(event) => {
        event.preventDefault();
        onSend(
          calls.map((it) => ({ callId: it.callId ?? "", output: values[it.callId ?? ""] ?? "" })),
        );
      }}
    >
      {calls.map((it) => (
        <label key={it.callId}>
          <span>Result of {it.name}</span>
          <textarea
            rows={2}
            class="mono"
            value={values[it.callId ?? ""] ?? ""}
            onInput={(event) =>
              setValues({ ...values, [it.callId ?? ""]: event.currentTarget.value })
            }
          />
        </label>
      ))}
      <button type="submit" class="primary">
        Send {calls.length > 1 ? "results" : "result"}
      </button>
    </form>
  );
}

function Composer({
  busy,
  onSend,
  onStop,
  model,
}: {
  busy: boolean;
  onSend: (text: string) => Promise<boolean>;
  onStop: () => void;
  model: string;
}) {
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${Math.min(element.scrollHeight, 240)}px`;
  }, [text]);
  const submit = (): void => {
    if (busy || !text.trim()) return;
    const sent = text;
    setText("");
    void onSend(sent).then((done) => done || setText(sent));
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        aria-label="Message"
        placeholder={`Ask ${model}`}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          // Enter that ends the input of a character by an input method sends nothing.
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            submit();
          }
        }}
      />
      {busy ? (
        <button
          type="button"
          class="round stop"
          aria-label="Stop"
          title="Stop (Esc)"
          onClick={onStop}
        >
          <Icon name="stop" />
        </button>
      ) : (
        <button
          type="submit"
          class="round"
          aria-label="Send"
          title="Send (Enter)"
          disabled={!text.trim()}
        >
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}

function download(conversation: Conversation): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported(conversation)], { type: "text/markdown" }));
  link.download = `${conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}.md`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
