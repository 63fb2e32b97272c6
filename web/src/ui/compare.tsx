import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { comparisonOf, type Lane } from "../chat/comparison.ts";
import type { Parameters } from "../chat/conversations.ts";
import { AnswerView } from "./answer.tsx";
import { useAnswer, useRedraw } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { ModelChoice, number } from "./parameters.tsx";
import { useFollow } from "./scroll.ts";
import type { Session } from "./session.ts";
import { WireDrawer } from "./wire.tsx";

/** One question to two models, or with two settings, at the same time and over one connection. */
export function Compare({ session }: { session: Session }) {
  const comparison = comparisonOf(session);
  const { lanes, question, busy } = comparison;
  const [text, setText] = useState("");
  const [wire, setWire] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const redraw = useRedraw();
  useEffect(() => field.current?.focus(), []);
  useEffect(() => comparison.listen(redraw), [comparison]);
  useAnswer(lanes[0]?.answer ?? null);
  useAnswer(lanes[1]?.answer ?? null);

  const send = (): void => {
    if (busy || !text.trim()) return;
    comparison.send(text);
    setText("");
  };
  return (
    <section
      class="compare"
      aria-label="Compare"
      onKeyDown={(event) => {
        if (event.key === "Escape" && busy && !wire) comparison.stop();
      }}
    >
      <h1 class="hidden">Compare two answers</h1>
      <div class="lanes">
        {lanes.map((lane, index) => (
          <LaneView
            key={index}
            lane={lane}
            index={index}
            question={question}
            session={session}
            onChange={(change) => comparison.set(index, change)}
          />
        ))}
      </div>
      <div class="foot">
        {!question && (
          <p class="hint">
            Choose a model and a temperature for each side.{" "}
            {comparison.keeps
              ? `This tab keeps the last comparison, and the deployment what is needed to resume it for ${session.kept.log_hours} hours.`
              : "This deployment keeps no answers: one that breaks off cannot be resumed."}
          </p>
        )}
        <form
          class="composer"
          onSubmit={(event) => {
            event.preventDefault();
            send();
          }}
        >
          <textarea
            ref={field}
            rows={1}
            dir="auto"
            aria-label="Question for both"
            placeholder="Ask both"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
                event.preventDefault();
                send();
              }
            }}
          />
          {question && (
            <button
              type="button"
              class="icon-button"
              aria-label="Wire of both answers"
              title="Wire of both answers"
              onClick={() => setWire(true)}
            >
              <Icon name="wire" />
            </button>
          )}
          {busy ? (
            <button
              type="button"
              class="round stop"
              aria-label="Stop both"
              title="Stop both (Esc)"
              onClick={() => comparison.stop()}
            >
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="round" aria-label="Send to both" disabled={!text.trim()}>
              <Icon name="send" />
            </button>
          )}
        </form>
      </div>
      {wire && <WireDrawer wire={comparison.wire} onClose={() => setWire(false)} />}
      <p class="hidden" role="status" aria-live="polite">
        {comparison.announcement}
      </p>
    </section>
  );
}

interface LaneProps {
  lane: Lane;
  index: number;
  question: string;
  session: Session;
  onChange: (change: Partial<Parameters>) => void;
}

function LaneView({ lane, index, question, session, onChange }: LaneProps) {
  const { parameters, answer } = lane;
  const follow = useFollow();
  useLayoutEffect(() => follow.toEnd(), [answer]);
  return (
    <div class="lane" role="group" aria-label={index === 0 ? "Left" : "Right"}>
      <div class="bar">
        <ModelChoice
          value={parameters}
          models={session.models}
          label={`Model ${index + 1}`}
          onChange={onChange}
        />
        <label>
          <span>temperature</span>
          <input
            type="number"
            min="0"
            max="2"
            step="0.1"
            value={parameters.temperature ?? ""}
            onInput={(event) => onChange({ temperature: number(event.currentTarget.value) })}
          />
        </label>
      </div>
      <div
        class="scroll"
        ref={follow.root}
        tabIndex={0}
        role="region"
        aria-label={`Answer ${index + 1}`}
      >
        <div class="inner">
          {answer ? (
            <>
              <div class="asked" role="group" aria-label="Question">
                <p dir="auto">{question}</p>
              </div>
              <AnswerView answer={answer} models={session.models} json={false} />
            </>
          ) : (
            <p class="hint empty">The {index === 0 ? "first" : "second"} answer comes here.</p>
          )}
        </div>
      </div>
    </div>
  );
}
