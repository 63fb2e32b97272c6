// Code as models write it, by language.

export const SAMPLES: Record<string, string> = {
  php: `<?php
namespace App;
/** A point. */
final class Point extends Base
{
    public function __construct(private int $x, protected ?string $name = null) {}
    public function text(): string { return "at {$this->x} " . $this->name; } // shown
}
`,
  python: `"""A module."""
from dataclasses import dataclass

@dataclass
class Point:
    """A point, it's small."""
    x: int = 0  # the column
    name: str = f"a {1 + 2:>4} b"

def add(a: int, b: int = 2, *rest, **more) -> int:
    '''Return
    the sum.'''
    if a is not None and b < 3.5e2:
        return [int(it) for it in "12"]
    raise ValueError(f"no {a!r}")
`,
  javascript: `// What it does.
import { a as b } from "./module.js";
const half = (value) => value / 2 / 1;
const found = /^[a-z]+$/g.test(\`text \${half(3)} and "more"\`);
export default class Thing extends Other {
  #private = null;
  async *run({ name, ...rest }, count = 0x1f) {
    /* a comment
       of two lines */
    for await (const it of rest) if (it?.in instanceof Map) return new Set([it, undefined]);
  }
}
`,
  swift: `import Foundation
/// A point.
struct Point: Codable {
    let x: Int
    var name: String? = nil
    func add(_ value: Int = 1) async throws -> Int {
        guard let name else { return x }
        print("at \\(x + value) \\(name)") // shown
        return x + value
    }
}
`,
  typescript: `interface Box<T extends string> {
  readonly value: T;
  when?: Date | null;
}
type Key = keyof Box<"a">;
export function open<T>(this: Window, box: Box<"a">, at: number[] = []): Promise<void> {
  const made = { ...box, value: "b" } as unknown as Box<"a">;
  return Promise.resolve(enumerate(made.value));
}
`,
  json: `{
  "name": "Ada",
  "tags": ["a", "b\\" c"],
  "nested": { "deep": true, "n": -1.5e3, "none": null }
}
`,
  bash: `set -euo pipefail
# Install it.
pip install "sluice==$VERSION" --quiet
for file in *.txt; do
  echo 'one' "$file \${HOME:-none} $(date +%s)" | grep -v "^#" > /dev/null
done
if [[ -f /etc/hosts ]]; then export A=1; fi
cat <<EOF
text $A
EOF
`,
  c: `#include <stdio.h>
#define MOST 10
/* adds */
static int add(int a, const char *text) {
  int indexed = a / 2;
  for (int i = 0; i < MOST; i++) printf("%d %s\\n", i, text);
  return 'a' + 0xffUL;
}
`,
  cpp: `#include <vector>
namespace app {
template <typename T>
class Stack : public Base {
 public:
  explicit Stack(std::size_t size) : size_(size) {}
  void push(const T& value) override { items_.push_back(value); } // adds
  std::string name = R"(raw)";
};
}
`,
  csharp: `using System;
namespace App
{
    /// <summary>A point.</summary>
    public record Point<T>(int X, string Name = "none") where T : class
    {
        public async Task<int> AddAsync(int value) => await Task.FromResult(value + 1);
        private readonly string text = $"at {1 + 2} {nameof(X)}"; // shown
    }
}
`,
  css: `/* A card. */
@media (max-width: 760px) {
  .card > a:hover, #id::before {
    color: light-dark(#fff, rgb(0 0 0 / 50%)) !important;
    margin: calc(1px + 2em) auto;
    --own: "text";
  }
}
`,
  diff: `diff --git a/x b/x
--- a/x
+++ b/x
@@ -1,2 +1,2 @@
-old line
+new line
 same
`,
  dockerfile: `FROM python:3.13-slim AS build
# Install.
ENV PATH="/app/bin:$PATH"
RUN pip install --no-cache-dir sluice && rm -rf /tmp
COPY --from=build /app /app
CMD ["python", "-m", "app"]
`,
  go: `package main

import "fmt"

type Point struct {
	X, Y int
}

func (p *Point) Add(values ...int) (sum int, err error) {
	for _, value := range values {
		sum += value // adds
	}
	fmt.Printf("%d\\n", sum)
	return sum, nil
}
`,
  ini: `; A file.
[section]
name = value
count = 10
path = "/tmp/x"
[[tool.list]]
on = true
`,
  java: `package app;

import java.util.List;

/** A point. */
public final class Point implements Comparable<Point> {
  private static final int MOST = 10;
  @Override
  public int compareTo(Point other) {
    return Integer.compare(this.x, other.x); // compares
  }
  String text() { return "x = " + 1.5f; }
}
`,
  kotlin: `package app

/** A point. */
data class Point(val x: Int, var name: String? = null) {
    fun add(value: Int): Int = when {
        value in 1..10 -> x + value // adds
        else -> "at \${name?.length} $x".length
    }
}
`,
  markdown: `# Title

Some *emphasis*, **bold**, \`code\` and [a link](https://example.com).

- one
1. two

> quoted

    indented
`,
  ruby: `require "set"
# A point.
class Point < Struct.new(:x, :y)
  def initialize(x, y = nil)
    @x = x
    puts "at #{x + 1}" unless y.nil?
  end
  attr_reader :name
end
%w[a b].each { |it| print it }
`,
  rust: `use std::collections::HashMap;
/// A point.
#[derive(Debug, Clone)]
pub struct Point<'a> {
    name: &'a str,
}
impl<'a> Point<'a> {
    pub fn new(name: &'a str) -> Self {
        let letter = 'x';
        println!("{} {}", name, 1_000u64);
        match letter { 'a'..='z' => Some(Self { name }), _ => None }.unwrap()
    }
}
`,
  sql: `-- The newest.
SELECT u.id, count(*) AS total
FROM users u
LEFT JOIN orders o ON o.user_id = u.id
WHERE u.name LIKE 'A%' AND o.price >= 10.5
GROUP BY u.id
ORDER BY total DESC LIMIT 10;
INSERT INTO t (a, b) VALUES (1, NULL);
`,
  xml: `<!DOCTYPE html>
<!-- A page. -->
<html lang="en">
  <body class="a b" hidden>
    <p>Text &amp; more</p>
    <script>
      const a = 1; // one
    </script>
    <style>p { color: red }</style>
  </body>
</html>
`,
  yaml: `# A file.
name: sluice
on: true
list:
  - one
  - "two": 2
text: |
  several
  lines
key: &anchor value # note
`,
};
