import { useEffect, useState } from "preact/hooks";

import { usage, type KeyUsage, type Limit } from "../api/client.ts";
import type { Failure } from "../chat/answer.ts";
import { failureOf } from "../chat/run.ts";
import { FailureView } from "./answer.tsx";
import { BarChart, barsOf, days } from "./charts.tsx";
import type { Session } from "./session.ts";

const NAMES: Record<string, string> = {
  requests_per_minute: "requests a minute",
  tokens_per_minute: "tokens a minute",
  tokens_per_day: "tokens today",
  tokens_per_month: "tokens this month",
  cost_per_day: "cost today",
  cost_per_month: "cost this month",
};

/** What the holder of a key may use, and has used. */
export function Usage({ session }: { session: Session }) {
  const [found, setFound] = useState<KeyUsage | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [span, setSpan] = useState(7);
  const load = (): void => {
    const since = new Date(Date.now() - (span - 1) * 86_400_000).toISOString().slice(0, 10);
    usage(session.key, `?since=${since}&limit=1000`).then(
      (it) => {
        setFound(it);
        setFailure(null);
      },
      (error: unknown) => setFailure(failureOf(error)),
    );
  };
  useEffect(load, [span]);
  if (failure)
    return (
      <Sheet>
        <FailureView failure={failure} />
      </Sheet>
    );
  if (!found)
    return (
      <Sheet>
        <p class="hint">Reading usage…</p>
      </Sheet>
    );
  const shown = days(found.since, new Date().toISOString().slice(0, 10));
  const { bars, names } = barsOf(found.data, shown, (row) => row.model);
  const limits = Object.entries(found.limits).filter(
    ([, it]) => it?.limit !== null && it !== null,
  ) as [string, Limit][];
  return (
    <Sheet>
      <h1>Usage of {found.key.name || found.key.id}</h1>
      <p class="hint">
        {found.key.expires_at
          ? `The key expires at ${new Date(1000 * found.key.expires_at).toLocaleString()}. `
          : ""}
        Totals and limits are exact now.
      </p>
      <div class="cards">
        <Card name="requests" value={found.totals.requests.toLocaleString("en")} />
        <Card name="prompt tokens" value={found.totals.prompt_tokens.toLocaleString("en")} />
        <Card
          name="completion tokens"
          value={found.totals.completion_tokens.toLocaleString("en")}
        />
        <Card name="cost" value={`$${found.totals.cost}`} />
        <Card
          name="streams that run"
          value={String(found.streams.running)}
          of={String(found.streams.limit)}
          share={found.streams.running / Math.max(1, found.streams.limit)}
        />
        {limits.map(([name, it]) => (
          <Card
            key={name}
            name={`${NAMES[name] ?? name}: left`}
            value={amount(name, it.left)}
            of={amount(name, it.limit)}
            share={1 - Number(it.left) / Math.max(Number(it.limit), 1e-9)}
            hint={
              it.resets_at
                ? `renewed ${new Date(1000 * it.resets_at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`
                : ""
            }
          />
        ))}
      </div>
      {limits.length === 0 && (
        <p class="hint">
          The key has no budget. Its only limit is the number of simultaneous streams.
        </p>
      )}
      <section class="by-day" aria-label="Tokens by day">
        <div class="bar">
          <h2>Tokens by day and model</h2>
          <select
            class="model"
            aria-label="Days"
            value={span}
            onChange={(event) => setSpan(Number(event.currentTarget.value))}
          >
            {[7, 14, 31].map((it) => (
              <option key={it} value={it}>
                {it} days
              </option>
            ))}
          </select>
        </div>
        <BarChart bars={bars} names={names} title="Tokens by day and model" />
        <p class="hint">
          {found.complete_until
            ? `Chart and table have the hours until ${found.complete_until.replace("T", " ")}:00 UTC. Each hour is added some minutes after its end.`
            : "No hour is over yet. Each hour is added some minutes after its end."}
        </p>
      </section>
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Usage by day and model">
        <table>
          <thead>
            <tr>
              <th scope="col">day (UTC)</th>
              <th scope="col">model</th>
              <th scope="col" class="number">
                requests
              </th>
              <th scope="col" class="number">
                prompt
              </th>
              <th scope="col" class="number">
                completion
              </th>
              <th scope="col" class="number">
                cost
              </th>
            </tr>
          </thead>
          <tbody>
            {found.data.map((row) => (
              <tr key={`${row.day}${row.model}`}>
                <td>{row.day}</td>
                <td>{row.model}</td>
                <td class="number">{row.requests.toLocaleString("en")}</td>
                <td class="number">{row.prompt_tokens.toLocaleString("en")}</td>
                <td class="number">{row.completion_tokens.toLocaleString("en")}</td>
                <td class="number">${row.cost}</td>
              </tr>
            ))}
            {found.data.length === 0 && (
              <tr>
                <td colSpan={6}>No rows yet.</td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
    </Sheet>
  );
}

function amount(name: string, value: number | string | null): string {
  if (value === null) return "no limit";
  return name.startsWith("cost") ? `$${value}` : Number(value).toLocaleString("en");
}

export function Sheet({ children }: { children: preact.ComponentChildren }) {
  return (
    <div class="sheet" tabIndex={-1}>
      <div class="sheet-inner">{children}</div>
    </div>
  );
}

export function Card({
  name,
  value,
  of,
  share,
  hint,
}: {
  name: string;
  value: string;
  of?: string;
  share?: number;
  hint?: string;
}) {
  return (
    <div class="card">
      <span class="name">{name}</span>
      <span class="value">
        {value} {of && <small>of {of}</small>}
      </span>
      {share !== undefined && (
        <svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
          <rect width={Math.min(100, Math.max(0, 100 * share))} height="6" />
        </svg>
      )}
      {hint && <small>{hint}</small>}
    </div>
  );
}
