// Bars by day, drawn as SVG: each has its figures in the table beside it.

export interface Bar {
  label: string;
  parts: { name: string; value: number }[];
}

const HEIGHT = 170;
const WIDTH = 720;
const LEFT = 48;
const BOTTOM = 22;

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function BarChart({ bars, names, title }: { bars: Bar[]; names: string[]; title: string }) {
  const sums = bars.map((bar) => bar.parts.reduce((sum, part) => sum + part.value, 0));
  const top = rounded(Math.max(...sums, 1));
  const step = (WIDTH - LEFT) / Math.max(bars.length, 1);
  const width = Math.min(46, step * 0.62);
  const y = (value: number): number => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - 8) * value) / top;
  const total = sums.reduce((sum, value) => sum + value, 0);
  return (
    <figure class="chart">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`${title}: ${total.toLocaleString("en")} in all; the table has each day`}
      >
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line class="grid" x1={LEFT} x2={WIDTH} y1={y(top * share)} y2={y(top * share)} />
            <text x={LEFT - 8} y={y(top * share) + 4} text-anchor="end">
              {short.format(top * share)}
            </text>
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
                const height = Math.max(0, bottom - y(from));
                return (
                  <rect
                    key={part.name}
                    class={`s${names.indexOf(part.name) % 5}`}
                    x={x}
                    y={y(from)}
                    width={width}
                    height={height}
                    rx="2"
                  >
                    <title>{`${bar.label}, ${part.name}: ${part.value.toLocaleString("en")}`}</title>
                  </rect>
                );
              })}
              <text x={x + width / 2} y={HEIGHT - 6} text-anchor="middle">
                {bar.label.slice(5)}
              </text>
            </g>
          );
        })}
      </svg>
      <figcaption>
        <ul class="legend" aria-label={title}>
          {names.map((name, index) => (
            <li key={name}>
              <svg viewBox="0 0 10 10" aria-hidden="true">
                <rect class={`s${index % 5}`} width="10" height="10" rx="3" />
              </svg>
              {name}
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}

/** Return the next round number: 1, 2 or 5 and zeros. */
export function rounded(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((it) => it * power).find((it) => it >= value) ?? value;
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

/** Rows of usage as bars: tokens by day, in parts by `part`. */
export function barsOf<
  T extends { day: string | null; prompt_tokens: number; completion_tokens: number },
>(rows: T[], all: string[], part: (row: T) => string): { bars: Bar[]; names: string[] } {
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
