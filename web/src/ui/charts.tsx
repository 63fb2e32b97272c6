// Bars by day, drawn as SVG: each has its figures in the table beside it.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { REST, rounded, type Bar } from "./bars.ts";

/** In pixels. */
const HEIGHT = 190;
const LEFT = 44;
const RIGHT = 14;
const BOTTOM = 24;
const TOP = 8;
/** The width that the label of a day needs. */
const LABEL = 50;

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const date = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone: "UTC" });
export const dateOf = (day: string): string => date.format(new Date(`${day}T00:00:00Z`));

export function BarChart({ bars, names, title }: { bars: Bar[]; names: string[]; title: string }) {
  const root = useRef<HTMLElement>(null);
  // The chart has the width of its place, so that its text has the size of other text.
  const [wide, setWide] = useState(720);
  useLayoutEffect(() => {
    const element = root.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setWide(Math.max(240, Math.floor(entry.contentRect.width)));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const sums = bars.map((bar) => bar.parts.reduce((sum, part) => sum + part.value, 0));
  const total = sums.reduce((sum, value) => sum + value, 0);
  const top = rounded(Math.max(...sums, 2));
  const step = (wide - LEFT - RIGHT) / Math.max(bars.length, 1);
  const width = Math.min(46, step * 0.62);
  const y = (value: number): number => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * value) / top;
  const each = Math.max(1, Math.ceil(LABEL / step));
  return (
    <figure class="chart" ref={root}>
      <svg
        width={wide}
        height={HEIGHT}
        viewBox={`0 0 ${wide} ${HEIGHT}`}
        role="img"
        aria-label={`${title}: ${total.toLocaleString("en")} in all; the table has each day`}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line class="grid" x1={LEFT} x2={wide} y1={y(top * share)} y2={y(top * share)} />
            {total > 0 && (
              <text x={LEFT - 10} y={y(top * share) + 4} text-anchor="end">
                {short.format(top * share)}
              </text>
            )}
          </g>
        ))}
        {bars.map((bar, index) => {
          let from = 0;
          const x = LEFT + step * index + (step - width) / 2;
          return (
            <g key={bar.label}>
              {bar.parts.map((part) => {
                const bottom = y(from);
                from += part.value;
                return (
                  <rect
                    key={part.name}
                    class={classOf(part.name, names)}
                    x={x}
                    y={y(from)}
                    width={width}
                    height={Math.max(0, bottom - y(from))}
                    rx="2"
                  >
                    <title>{`${dateOf(bar.label)}, ${part.name}: ${part.value.toLocaleString("en")}`}</title>
                  </rect>
                );
              })}
              {(bars.length - 1 - index) % each === 0 && (
                <text x={x + width / 2} y={HEIGHT - 6} text-anchor="middle">
                  {dateOf(bar.label)}
                </text>
              )}
            </g>
          );
        })}
        {total === 0 && (
          <text
            class="nothing"
            x={LEFT + (wide - LEFT) / 2}
            y={y(top / 2) - 10}
            text-anchor="middle"
          >
            No tokens on these days
          </text>
        )}
      </svg>
      {names.length > 0 && (
        <figcaption>
          <ul class="legend" aria-label={title}>
            {names.map((name) => (
              <li key={name}>
                <svg viewBox="0 0 10 10" aria-hidden="true">
                  <rect class={classOf(name, names)} width="10" height="10" rx="3" />
                </svg>
                {name}
              </li>
            ))}
          </ul>
        </figcaption>
      )}
    </figure>
  );
}

function classOf(name: string, names: string[]): string {
  return name === REST ? "rest" : `s${names.indexOf(name) % 5}`;
}
