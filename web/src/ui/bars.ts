// Rows of usage as bars of a chart. Pure.

import type { KeyUsage } from "../api/client.ts";

export interface Bar {
  /** A day, UTC: 2026-11-29. */
  label: string;
  parts: { name: string; value: number }[];
}

/** The name of the part of today that is not in the rows by model yet. */
export const REST = "not by model yet";

interface Row {
  day: string | null;
  prompt_tokens: number;
  completion_tokens: number;
}

/** Return the next round number. */
export function rounded(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((it) => it * power).find((it) => it >= value) ?? value;
}

/** Return the days from one to another, both included; 62 at most. */
export function days(first: string, last: string): string[] {
  const found: string[] = [];
  const day = new Date(`${first}T00:00:00Z`);
  const end = Date.parse(`${last}T00:00:00Z`);
  while (day.getTime() <= end && found.length < 62) {
    found.push(day.toISOString().slice(0, 10));
    day.setUTCDate(day.getUTCDate() + 1);
  }
  return found;
}

/** Return rows of usage as bars: the tokens of each day, in parts by `part`. */
export function barsOf<T extends Row>(
  rows: T[],
  all: string[],
  part: (row: T) => string,
): { bars: Bar[]; names: string[] } {
  const names = [...new Set(rows.map(part))].toSorted();
  const bars = all.map((label) => ({
    label,
    parts: names.map((name) => ({
      name,
      value: rows
        .filter((row) => row.day === label && part(row) === name)
        .reduce((sum, row) => sum + row.prompt_tokens + row.completion_tokens, 0),
    })),
  }));
  return { bars, names };
}

/** Return a row's requests without the refused ones, as totals of keys count them. */
export function served(row: { requests: number; outcomes: Record<string, number> }): number {
  return row.requests - (row.outcomes["refused"] ?? 0);
}

/** The usage of today that the rows do not have: they are made when an hour is over. */
export interface Rest {
  day: string;
  tokens: number;
  /** USD. */
  cost: number;
}

/**
 * Return what today's exact counters have beyond the rows; null if that is nothing. The counters
 * include what running answers have reserved.
 */
export function restOf({ limits, data }: Pick<KeyUsage, "limits" | "data">): Rest | null {
  const window = limits["tokens_per_day"];
  if (!window?.resets_at) return null;
  const day = new Date(1000 * (window.resets_at - 86_400)).toISOString().slice(0, 10);
  const rows = data.filter((row) => row.day === day);
  const counted = rows.reduce((sum, row) => sum + row.prompt_tokens + row.completion_tokens, 0);
  const paid = rows.reduce((sum, row) => sum + Number(row.cost), 0);
  const tokens = Number(window.spent ?? 0) - counted;
  const cost = Math.max(0, Number(limits["cost_per_day"]?.spent ?? 0) - paid);
  return tokens > 0 ? { day, tokens, cost } : null;
}
