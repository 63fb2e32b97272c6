import { useEffect, useState } from "preact/hooks";

import type { Model } from "../api/client.ts";
import type { Answer, Failure, Item } from "../chat/answer.ts";
import { Figures } from "./figures.tsx";
import { useAnswer } from "./hooks.ts";
import { Streamed } from "./streamed.tsx";

const ENDED: Record<string, string> = {
  max_output_tokens: "The token limit was reached.",
  content_filter: "The answer was filtered.",
  budget: "The key's budget is used up.",
  deadline: "The time limit of an answer was reached.",
};

/** An answer as it comes, with its figures. */
export function AnswerView({
  answer,
  models,
  json,
}: {
  answer: Answer;
  models: Model[];
  json: boolean;
}) {
  useAnswer(answer);
  const waiting = answer.running && answer.items.length === 0;
  return (
    <article class="answer" aria-busy={answer.running} aria-label={`Answer of ${answer.model}`}>
      {waiting && (
        <p class="waiting">
          <span class="dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {answer.status === "reconnecting" ? (
            "Connecting again…"
          ) : (
            <Waited since={answer.sentAt} />
          )}
        </p>
      )}
      {answer.items.map((item, index) => (
        <ItemView key={index} answer={answer} item={item} json={json} />
      ))}
      {answer.status === "reconnecting" && answer.items.length > 0 && (
        <p class="note warn">The connection was lost. The page fetches the rest when it is back.</p>
      )}
      {answer.status === "cancelled" && <p class="note">Stopped.</p>}
      {answer.status === "incomplete" && (
        <p class="note">{ENDED[answer.ended ?? ""] ?? "The answer is not complete."}</p>
      )}
      {(answer.status === "failed" || answer.status === "interrupted") && (
        <FailureView failure={answer.failure} partial={answer.items.length > 0} />
      )}
      {/* It has its height from the beginning, so that nothing moves when the figures come. */}
      {(answer.running || answer.usage || answer.items.length > 0) && (
        <div class="under">
          {(answer.usage || !answer.running) && <Figures answer={answer} models={models} />}
        </div>
      )}
    </article>
  );
}

/** After some seconds without a token, how long it has been. */
function Waited({ since }: { since: number }) {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(
      () => setSeconds(Math.floor((performance.now() - since) / 1000)),
      1000,
    );
    return () => clearInterval(timer);
  }, [since]);
  return <>{seconds >= 5 ? `Waiting for the model, ${seconds} s` : "Waiting for the model"}</>;
}

function ItemView({ answer, item, json }: { answer: Answer; item: Item; json: boolean }) {
  if (item.kind === "reasoning") {
    const seconds =
      item.to && item.from ? Math.max(1, Math.round((item.to - item.from) / 1000)) : null;
    return (
      <details class="reasoning">
        <summary>
          {item.done ? (
            `Reasoning${seconds ? `, ${seconds} s` : ""}`
          ) : (
            <span class="pulse">Reasoning…</span>
          )}
        </summary>
        <Streamed answer={answer} item={item} json={false} />
      </details>
    );
  }
  if (item.kind === "call") {
    return (
      <section class="call" aria-label={`Call of the tool ${item.name}`}>
        <h3>
          <span class="tag">tool</span> {item.name}
        </h3>
        {item.text ? <Streamed answer={answer} item={item} json={true} /> : <p class="note">…</p>}
      </section>
    );
  }
  return <Streamed answer={answer} item={item} json={json || null} />;
}

export function FailureView({
  failure,
  partial = false,
}: {
  failure: Failure | null;
  partial?: boolean;
}) {
  const retryAt = failure?.retryAt;
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!retryAt || retryAt < Date.now()) return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [retryAt]);
  const left = retryAt ? Math.ceil((retryAt - now) / 1000) : 0;
  return (
    <div class="note error" role="alert">
      <p>{failure?.message ?? "The answer failed."}</p>
      {partial && <p>What had come before the failure is kept above.</p>}
      {left > 0 && <p>Try again in {duration(left)}.</p>}
      {retryAt !== undefined && left <= 0 && <p>You can try again now.</p>}
      {failure?.code && (
        <p class="code-of">
          {failure.status ? `${failure.status} ` : ""}
          {failure.code}
          {failure.requestId ? `, ${failure.requestId}` : ""}
        </p>
      )}
    </div>
  );
}

function duration(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
