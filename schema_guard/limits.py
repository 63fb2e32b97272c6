"""The bounds of a request's schemas, each with the measurement that justifies it.

Measured with llama.cpp's converter and sampler (xllamacpp 2026.10.11549) and the demo model, whose
vocabulary has 2,048 tokens, in CPU time on one x86-64 core. What a larger vocabulary costs was
measured with random weights for Mistral's Tekken tokenizer. A limit that names a request counts
over all schemas of the request, because those of its tools end up in one grammar.
docs/reference/api.md has the same table; a test compares the two.
"""

from typing import Final, NamedTuple


class Limit(NamedTuple):
    """A limit: the maximum that is accepted, what it counts, and the measurement behind it."""

    most: int
    counts: str
    measured: str


DEPTH: Final = Limit(
    64,
    "levels of a schema",
    "converters recurse; 400 levels convert in 0.05 s, and no user needs 64",
)
VALUES: Final = Limit(
    50_000, "JSON values in a request's schemas", "this check itself takes 0.1 s for so many"
)
GUIDING: Final = Limit(
    16_384,
    "JSON values that guide (not those of title, description, default, examples, $comment)",
    "100 tools of 20 required properties are 10,000, and are tried in under a second",
)
SCHEMAS: Final = Limit(
    5_000, "schemas within a request's schemas", "a chain of 5,000 references converts in 0.6 s"
)
TEXT: Final = Limit(
    120_000,
    "characters of names, enum values, constants and patterns in a request",
    "200 kB convert in 0.03 s",
)
PROPERTIES: Final = Limit(3_000, "properties in a request", "1,000 required ones convert in 0.03 s")
OPTIONAL: Final = Limit(
    200,
    "properties of one object that are not required",
    "200 convert in 0.08 s, 500 in 0.7 s, 1,000 in 4.4 s",
)
NAMES: Final = Limit(
    1_000_000,
    "characters of all paths to a request's schemas",
    "a grammar names each rule by its path: 1,000 properties below a path of 100 kB are 300 MB",
)
ALTERNATIVES: Final = Limit(
    500,
    "alternatives at one place (enum values, branches of anyOf and oneOf)",
    "one step takes 0.1 s at 200, 0.3 s at 500, 0.9 s at 1,000, 5 s at 3,000",
)
LIVE: Final = Limit(
    2_500,
    (
        "alternatives that are open at once: of branches that begin alike, and optional properties, "
        "times the places where a value before them may end"
    ),
    (
        "490 arrays of any value take 0.1 s a step, 50 objects of 200 optional properties 0.25 s, "
        "60 properties of a pattern with 80 ends 0.25 s"
    ),
)
COMPARED: Final = Limit(
    2**26,
    (
        "the same times the tokens of the model's vocabulary, where llama.cpp guides calls: 512 "
        "alternatives at 131,072 tokens"
    ),
    ("with 131,072 tokens, 500 constants take 0.9 s a step, and 200 optional properties 0.2 s"),
)
COMPARED_BRANCHES: Final = Limit(
    2**24,
    "branches of anyOf that are no constants times the tokens of the vocabulary, likewise: 128",
    (
        "with 131,072 tokens, 100 arrays of strings take 0.7 s a step, 250 objects 0.8 to 2 s, and "
        "400 arrays 3.3 s"
    ),
)
COLLISIONS: Final = Limit(
    1_000_000,
    "clashes of names outside a-z, A-Z, 0-9",
    (
        "llama.cpp writes them as '-' and counts up to a free one: 100 optional ones take 0.1 s, "
        "200 take 0.8 s"
    ),
)
ENUM_VALUES: Final = Limit(5_000, "enum values in a request", "ten enums of 500 convert in 0.05 s")
EXPANDED: Final = Limit(
    100_000,
    "schemas, were each $ref replaced by what it names",
    "20 doublings through $defs are a million; engines that inline references run out of memory",
)
ITEMS: Final = Limit(
    1_000,
    "minItems, maxItems, minContains, maxContains",
    "llama.cpp takes 1,700 and fails at 2,000",
)
MIN_LENGTH: Final = Limit(2_000, "minLength", "llama.cpp takes 2,000 and fails at 5,000")
MAX_LENGTH: Final = Limit(100_000, "maxLength", "a step at 100,000 takes 3 ms")
MEMBERS: Final = Limit(
    10_000, "minProperties, maxProperties", "llama.cpp does not read them; others count with them"
)
MULTIPLE: Final = Limit(
    1_000,
    "multipleOf, without its decimal point",
    "each unit is a state: 1,000,003 takes 0.25 s a step, and 2 s of a trial",
)
REPEATED: Final = Limit(
    10_000_000,
    "product of nested maxItems and maxLength",
    "llama.cpp makes a rule a level; engines that unroll repetitions multiply",
)
INTEGER: Final = Limit(
    10**15 - 1,
    "a minimum of an integer without maximum, or the reverse",
    "at 2 * 10^15 llama.cpp asks for {16,15} digits, and takes all memory",
)
PATTERNS: Final = Limit(
    500, "patterns in a request", "500 convert in 0.2 s; each copies all rules before it"
)
PATTERN_TEXT: Final = Limit(
    2_000, "characters of a pattern", "the longest of pydantic's and zod's own has under 500"
)
PATTERN_SIZE: Final = Limit(
    5_000,
    "characters of a pattern, its repetitions written out",
    "llama.cpp fails at 99,999; others write them out",
)
PATTERN_REPEAT: Final = Limit(1_000, "m and n of {m,n} in a pattern", "1,000 sample in 7 ms a step")
PATTERN_AFTER: Final = Limit(
    250,
    "characters of a pattern within or after a repetition without end, written out",
    "each prefix is a state of its automaton: llguidance gives up at '.*a.{900}'",
)
PATTERN_EMPTY: Final = Limit(
    20,
    "parts of a pattern that may be empty",
    "20 take 0.01 s a step, 100 take 0.15 s, 200 take 1.4 s",
)
PATTERN_ALTERNATIVES: Final = Limit(250, "alternatives of a pattern", "250 take 0.1 s a step")
PATTERN_SETS: Final = Limit(
    4,
    "alternatives of a pattern that are one set or group",
    "62 that match one character never end: 62^n for n",
)
PATTERN_DEPTH: Final = Limit(20, "groups within groups in a pattern", "llama.cpp gives up at 100")
PATTERN_TRANSITIONS: Final = Limit(
    10_000,
    (
        "pairs of characters that follow each other in the different patterns of tools that may be "
        "called, repetitions written out"
    ),
    "this check itself takes 0.02 s for so many; a pattern of dates has 120, and counts once",
)
PATTERN_READINGS: Final = Limit(
    50_000,
    (
        "ways to read on in a pattern of a tool that may be called, times its length, together "
        "with those in branches that begin alike"
    ),
    (
        "llama.cpp follows each: 50,000 take 0.02 s a step, a million 0.4 s; '[a-z]' in six "
        "nested '{1,2}' takes minutes"
    ),
)
