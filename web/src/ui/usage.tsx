import { useEffect, useState } from "preact/hooks";

import { usage, type KeyUsage, type Limit, type UsageRow } from "../api/client.ts";
import type { Failure } from "../chat/answer.ts";
import { failureOf } from "../chat/run.ts";
import { FailureView } from "./answer.tsx";
import { barsOf, days, REST, restOf, served } from "./bars.ts";
import { BarChart, dateOf } from "./charts.tsx";
import type { Session } from "./session.ts";

/** The windows of limits: their names, and whether the page shows them without a limit. */
const WINDOWS: [name: string, title: string, always: boolean][] = [
  ["tokens_per_day", "tokens today", true],
  ["cost_per_day", "cost today", true],
  ["tokens_per_month", "tokens this month", true],
  ["cost_per_month", "cost this month", true],
  ["requests_per_minute", "requests this minute", false],
  ["tokens_per_minute", "tokens this minute", false],
];

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
  const rest = restOf(found);
  const today = rest?.day ?? new Date().toISOString().slice(0, 10);
  const { bars, names } = barsOf(found.data, days(found.since, today), (row) => row.model);
  if (rest) {
    names.push(REST);
    bars.at(-1)?.parts.push({ name: REST, value: rest.tokens });
  }
  const { limits, streams, totals, key } = found;
  const shown = WINDOWS.flatMap(([name, title, always]) => {
    const limit = limits[name];
    return limit && (always || limit.limit !== null) ? [{ name, title, limit }] : [];
  });
  return (
    <Sheet>
      <header>
        <h1>Usage of {key.name || key.id}</h1>
        <p class="hint">
          All figures are exact now. Answers that run count with what they have reserved.
          {key.expires_at
            ? ` The key expires at ${new Date(1000 * key.expires_at).toLocaleString()}.`
            : ""}
        </p>
      </header>
      <section aria-label="Now">
        <div class="cards">
          {shown.map(({ name, title, limit }) => (
            <WindowCard key={name} name={name} title={title} limit={limit} />
          ))}
          <Card
            name="running answers"
            value={String(streams.running)}
            of={String(streams.limit)}
            share={streams.running / Math.max(1, streams.limit)}
            hint={`${Math.max(0, streams.limit - streams.running)} more can run`}
          />
        </div>
      </section>
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
            ? `Usage is known by model until ${hourOf(found.complete_until)} UTC: each hour is added some minutes after its end.`
            : "Usage is known by model some minutes after the end of each hour, and none is over yet."}
        </p>
      </section>
      <UsageTable
        by="model"
        rows={found.data.toReversed().map((row) => ({ ...row, id: row.model, name: row.model }))}
        empty={rest ? null : "Nothing was used on these days."}
      >
        {rest && (
          <tr class="rest-of">
            <td>{rest.day}</td>
            <td>{REST}</td>
            <td class="number">–</td>
            <td class="number" colSpan={2}>
              {rest.tokens.toLocaleString("en")} together
            </td>
            <td class="number">{money(rest.cost)}</td>
          </tr>
        )}
      </UsageTable>
      <section aria-label="Since the key was made">
        <h2>Since the key was made</h2>
        <div class="cards four">
          <Card name="requests" value={totals.requests.toLocaleString("en")} />
          <Card name="prompt tokens" value={totals.prompt_tokens.toLocaleString("en")} />
          <Card name="completion tokens" value={totals.completion_tokens.toLocaleString("en")} />
          <Card name="cost" value={money(totals.cost)} />
        </div>
      </section>
    </Sheet>
  );
}

function WindowCard({ name, title, limit }: { name: string; title: string; limit: Limit }) {
  const limited = limit.limit !== null;
  const spent = Number(limit.spent ?? 0);
  return (
    <Card
      name={title}
      value={amount(name, limit.spent ?? 0)}
      {...(limited
        ? {
            of: amount(name, limit.limit),
            share: spent / Math.max(Number(limit.limit), 1e-9),
            hint: `${amount(name, limit.left)} left${limit.resets_at ? `, renewed ${whenOf(limit.resets_at)}` : ""}`,
          }
        : { hint: "no limit" })}
    />
  );
}

/** Return when something is due, as "in 3 h" or "on Dec 1". */
function whenOf(seconds: number): string {
  const left = seconds - Date.now() / 1000;
  if (left < 90) return `in ${Math.max(1, Math.ceil(left))} s`;
  if (left < 5400) return `in ${Math.round(left / 60)} min`;
  if (left < 36 * 3600) return `in ${Math.round(left / 3600)} h`;
  return `on ${dateOf(new Date(1000 * seconds).toISOString().slice(0, 10))}`;
}

const hourOf = (hour: string): string => `${dateOf(hour.slice(0, 10))}, ${hour.slice(11)}:00`;

function amount(name: string, value: number | string | null): string {
  if (value === null) return "no limit";
  return name.startsWith("cost") ? money(value) : Number(value).toLocaleString("en");
}

/** Return an amount in USD with the digits that matter. */
export function money(value: number | string): string {
  const sum = Number(value);
  if (sum === 0) return "$0";
  return `$${sum < 0.01 ? sum.toPrecision(2) : sum.toFixed(sum < 1 ? 4 : 2)}`;
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

interface TableProps {
  by: "key" | "model";
  /** What is shown, the latest day first. Two keys may have the same name. */
  rows: (Omit<UsageRow, "model"> & { id: string; name: string })[];
  /** What stands in the table if it has no rows; null for nothing. */
  empty: string | null;
  /** A row above the others. */
  children?: preact.ComponentChildren;
}

/** What was used on each day, by key or model. */
export function UsageTable({ by, rows, empty, children }: TableProps) {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label={`Usage by day and ${by}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">day (UTC)</th>
            <th scope="col">{by}</th>
            {["requests", "prompt", "completion", "cost"].map((name) => (
              <th key={name} scope="col" class="number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {children}
          {rows.map((row) => (
            <tr key={`${row.day}${row.id}`}>
              <td>{row.day}</td>
              <td>{row.name}</td>
              <td class="number">{served(row).toLocaleString("en")}</td>
              <td class="number">{row.prompt_tokens.toLocaleString("en")}</td>
              <td class="number">{row.completion_tokens.toLocaleString("en")}</td>
              <td class="number">{money(row.cost)}</td>
            </tr>
          ))}
          {rows.length === 0 && empty !== null && (
            <tr>
              <td colSpan={6}>{empty}</td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
