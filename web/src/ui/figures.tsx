import { figuresOf, type Answer } from "../chat/answer.ts";
import { costOf } from "../chat/request.ts";
import { copyText } from "../render/code.ts";
import type { Model } from "../api/client.ts";

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 9_950 ? 2 : 1)} s`;
const whole = (value: number): string => value.toLocaleString("en");

/** The figures of an answer: what this page has measured, and the tokens of the meter. */
export function Figures({ answer, models }: { answer: Answer; models: Model[] }) {
  const figures = figuresOf(answer);
  const prices = models.find((it) => it.id === answer.model)?.sluice;
  const cost = costOf(prices, answer.usage);
  const reasoning = answer.usage?.output_tokens_details?.reasoning_tokens ?? 0;
  if (figures.ttft === null && !answer.usage && !answer.requestId) return null;
  return (
    <dl class="figures" aria-label="Figures of this answer">
      {figures.ttft !== null && (
        <Figure
          name="first token"
          value={seconds(figures.ttft)}
          title="From the request to the first token, in this browser"
        />
      )}
      {figures.rate !== null && (
        <Figure
          name="tokens/s"
          value={figures.rate < 100 ? figures.rate.toFixed(1) : whole(Math.round(figures.rate))}
          title="After the first token"
        />
      )}
      {figures.p50 !== null && figures.p95 !== null && answer.gaps.length > 4 && (
        <div
          class="figure"
          title="Between the pieces that came: median, 95th percentile, and the longest ones"
        >
          <dt>gaps</dt>
          <dd>
            <span class="gaps">
              {Math.round(figures.p50)} / {Math.round(figures.p95)} ms
            </span>
            <Sparkline values={answer.gaps} />
          </dd>
        </div>
      )}
      {answer.usage && (
        <Figure
          name="tokens"
          value={`${whole(answer.usage.input_tokens)} in, ${whole(answer.usage.output_tokens)} out`}
          title={
            reasoning
              ? `${whole(reasoning)} of them for reasoning`
              : "As the meter has counted them"
          }
        />
      )}
      {cost !== null && <Figure name="cost" value={cost} title="At the deployment's prices" />}
      {answer.resumed > 0 && (
        <Figure
          name="resumed"
          value={`${answer.resumed}×`}
          title="The connection was lost, and the rest was fetched"
        />
      )}
      {answer.requestId && (
        <div class="figure">
          <dt class="hidden">request</dt>
          <dd>
            <button
              type="button"
              class="quiet id"
              title="Copy the request's id, for the operator"
              aria-label={`Copy the request id ${answer.requestId}`}
              onClick={() => void copyText(answer.requestId ?? "")}
            >
              {answer.requestId.replace("req_", "").slice(0, 10)}…
            </button>
          </dd>
        </div>
      )}
    </dl>
  );
}

function Figure({ name, value, title }: { name: string; value: string; title: string }) {
  return (
    <div class="figure" title={title}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

const POINTS = 48;

/** The longest value of each part of the time, as a line. */
export function Sparkline({ values }: { values: readonly number[] }) {
  const parts = Math.min(POINTS, values.length);
  const heights = Array.from({ length: parts }, (_, index) => {
    const from = Math.floor((index * values.length) / parts);
    const to = Math.max(from + 1, Math.floor(((index + 1) * values.length) / parts));
    let most = 0;
    for (let at = from; at < to; at += 1) most = Math.max(most, values[at] ?? 0);
    return most;
  });
  const top = Math.max(...heights, 1);
  const points = heights
    .map(
      (value, index) =>
        `${((index * 60) / Math.max(1, parts - 1)).toFixed(1)},${(15 - (14 * value) / top).toFixed(1)}`,
    )
    .join(" ");
  return (
    <svg
      class="sparkline"
      viewBox="0 0 60 16"
      role="img"
      aria-label={`The longest gap was ${Math.round(top)} ms`}
    >
      <polyline points={points} />
    </svg>
  );
}
