import { useEffect, useRef, useState } from "preact/hooks";

import { Answer } from "../chat/answer.ts";
import type { Parameters } from "../chat/conversations.ts";
import { parametersOf } from "../chat/request.ts";
import { SideBySide } from "../chat/side-by-side.ts";
import { Wire } from "../chat/wire.ts";
import { AnswerView } from "./answer.tsx";
import { useAnswer } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { ModelChoice } from "./parameters.tsx";
import type { Session } from "./session.ts";
import { WireDrawer } from "./wire.tsx";

interface Lane {
  parameters: Parameters;
  answer: Answer | null;
  wire: Wire;
}

function laneOf(session: Session, index: number): Lane {
  const model = session.models[Math.min(index, session.models.length - 1)]?.id ?? "";
  const parameters: Parameters = {
    model, instructions: "", temperature: index === 0 ? 0 : 1, topP: null, maxTokens: null,
    effort: "", format: "text", schema: "", tools: "",
  }; // prettier-ignore
  return { parameters, answer: null, wire: new Wire() };
}

/**
 * One question to two models, or with two settings, at the same time and over one connection.
 * Nothing of it is kept.
 */
export function Compare({ session }: { session: Session }) {
  const [lanes, setLanes] = useState<Lane[]>(() => [0, 1].map((it) => laneOf(session, it)));
  const [text, setText] = useState("");
  const [asked, setAsked] = useState("");
  const [wire, setWire] = useState<Wire | null>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  useAnswer(lanes[0]?.answer ?? null);
  useAnswer(lanes[1]?.answer ?? null);
  const current = useRef<SideBySide | null>(null);
  useEffect(() => () => void current.current?.stop(), []);
  const busy = lanes.some((it) => it.answer?.running);

  const send = (): void => {
    if (busy || !text.trim()) return;
    const shared = new Wire();
    const fresh = lanes.map((lane) => ({
      ...lane,
      answer: new Answer(lane.parameters.model),
      wire: shared,
    }));
    const members = fresh.map(({ answer, parameters }) => ({
      answer,
      body: { ...parametersOf(parameters), input: text, stream: true, store: false },
    }));
    setLanes(fresh);
    setAsked(text);
    current.current = new SideBySide(session.key, members, shared);
    void current.current.start();
    setText("");
  };
  const stop = (): void => void current.current?.stop();
  return (
    <section class="compare" aria-label="Compare">
      <h1 class="hidden">Compare two answers</h1>
      <div class="lanes">
        {lanes.map((lane, index) => (
          <div class="lane" key={index} role="group" aria-label={index === 0 ? "Left" : "Right"}>
            <div class="bar">
              <ModelChoice
                value={lane.parameters}
                models={session.models}
                label={`Model ${index + 1}`}
                onChange={(parameters) =>
                  setLanes(lanes.map((it) => (it === lane ? { ...it, parameters } : it)))
                }
              />
              <label>
                <span>temperature</span>
                <input
                  type="number"
                  min="0"
                  max="2"
                  step="0.1"
                  value={lane.parameters.temperature ?? ""}
                  onInput={(event) => {
                    const value = Number.parseFloat(event.currentTarget.value);
                    const temperature = Number.isFinite(value) ? value : null;
                    setLanes(
                      lanes.map((it) =>
                        it === lane ? { ...it, parameters: { ...it.parameters, temperature } } : it,
                      ),
                    );
                  }}
                />
              </label>
              {lane.answer && (
                <button type="button" class="quiet" onClick={() => setWire(lane.wire)}>
                  <Icon name="wire" /> Wire
                </button>
              )}
            </div>
            <div class="scroll" tabIndex={0} role="region" aria-label={`Answer ${index + 1}`}>
              {asked && (
                <div class="asked">
                  <p dir="auto">{asked}</p>
                </div>
              )}
              {lane.answer ? (
                <AnswerView key={asked} answer={lane.answer} models={session.models} json={false} />
              ) : (
                <p class="hint">Choose a model and a temperature for each side, and ask.</p>
              )}
            </div>
          </div>
        ))}
      </div>
      <div class="foot">
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
          {busy ? (
            <button type="button" class="round stop" aria-label="Stop both" onClick={stop}>
              <Icon name="stop" />
            </button>
          ) : (
            <button type="submit" class="round" aria-label="Send to both" disabled={!text.trim()}>
              <Icon name="send" />
            </button>
          )}
        </form>
      </div>
      {wire && <WireDrawer wire={wire} onClose={() => setWire(null)} />}
    </section>
  );
}
