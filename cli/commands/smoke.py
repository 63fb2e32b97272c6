"""`sluice smoke`: stream one short answer after a deployment, and check it from end to end.

It makes a temporary key, streams an answer through the distribution, compares the stream's usage
with the ledger and the key's totals, and deletes the key. Where answers are kept, it also stores
one, cancels one, and reads and deletes them.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cli.lib import values
from cli.lib.endpoint_state import is_stopped, stopped
from cli.lib.project import CommandError
from cli.lib.terminal import console, errors, literal, print_json

if TYPE_CHECKING:
    import argparse

    from cli.commands.check.wire import Response, Stream
    from cli.commands.verify.target import Target

HELP = "Stream one short answer from a deployed stage and check it from end to end."
_LENGTHS = (32, 256)
"""The tokens to ask for.

The second number is for a model that is too fast to judge by the first.
"""
_LONG_ENOUGH_S = 0.3
"""The seconds that an answer must take to tell whether it was buffered."""
_PACKET_S = 0.15
"""The maximum time between two packets, on average, while text is sampled."""
_MANY = 64
"""So many pieces of text or more arrive in over two packets, unless a hop buffers them."""
_WAIT_S = 600
_RETRY_S = 5.0


@dataclass(frozen=True)
class Step:
    """A check, and its result."""

    name: str
    good: bool
    seen: str


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    text = f"how long to wait for an endpoint that is still starting ({_WAIT_S}s)"
    parser.add_argument("--wait", type=values.seconds, default=_WAIT_S, metavar="T", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run all steps and print them.

    Raises:
        CommandError: a step failed, or the stage cannot be read.
        SystemExit: with `--json`, a step failed.

    """
    from cli.commands.verify.target import Target, temporary_keys

    target = Target.of(args.stage, args.stack_name)
    with temporary_keys(target):
        steps = list(steps_of(target, args.wait))
        if all(step.good for step in steps) and "RecallFunctionName" in target.outputs:
            steps.append(kept(target))
        key = target.key
    steps.append(removed(target, key))
    failed = [step for step in steps if not step.good]
    if args.json:
        print_json({"stage": args.stage, "good": not failed, "steps": [*map(asdict, steps)]})
        if failed:
            raise SystemExit(1)
        return
    for step in steps:
        mark = "[green]✓[/green]" if step.good else "[red]✗[/red]"
        console.print(mark, literal(f"{step.name}: {step.seen}"))
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(steps)} steps failed on {target.origin}. `sluice doctor "
            f"--stage {args.stage}` looks for causes; docs/how-to/incident.md has what to do."
        )


def steps_of(target: Target, wait: float) -> list[Step]:
    """Return the steps of one answer. `wait` is how many seconds the endpoint may still start."""
    from cli.commands.check.rules import wrong_order
    from cli.commands.check.wire import parse_stream
    from cli.commands.verify.checks.path import texts

    steps: list[Step] = []
    spent = [0, 0]
    for tokens in _LENGTHS:
        response = _ask(target, tokens, wait)
        if response.status != 200:
            return [Step("answer", False, _refusal(response))]
        stream = parse_stream(response)
        pieces = texts(stream)
        faults = [*stream.faults, *wrong_order(stream)]
        if response.cut or faults or not pieces:
            wrong = faults or ["the connection broke" if response.cut else "it has no text"]
            return [Step("answer", False, f"the stream is damaged: {'; '.join(wrong)}")]
        item = target.ledger(response)
        whole = (item.get("duration_ms") or 0) / 1000
        took = whole - (item.get("ttft_ms") or 0) / 1000
        steps = [
            Step(
                "answer", True, f"{len(pieces)} pieces of text, {response.headers['x-request-id']}"
            ),
            Step("time to first token", True, f"{pieces[0][0]:.2f} s, seen from here"),
            unbuffered([when for when, _ in pieces], took=took, whole=whole),
            _metered(target, stream, item, spent),
        ]
        if took >= _LONG_ENOUGH_S:
            break
    return steps


def _ask(target: Target, tokens: int, wait: float) -> Response:
    """Stream an answer. While the endpoint starts, which is a 503, try again.

    Raises:
        CommandError: the endpoint is stopped, so it would not start.

    """
    ends = time.monotonic() + wait
    is_told = False
    while True:
        response = target.chat(
            "Say hello, and then why tokens are streamed.",
            stream=True,
            max_tokens=tokens,
            stream_options={"include_usage": True},
        )
        if response.status != 503 or time.monotonic() + _RETRY_S > ends:
            return response
        if _error(response).get("code") == "service_stopped":
            return response
        if not is_told:
            if is_stopped(target.stage, target.name):
                raise CommandError(stopped(target.stage, target.name))
            told = f"{_refusal(response)} It is asked again for up to {wait:.0f} s."
            errors.print(f"[dim]{literal(told)}[/dim]")
            is_told = True
        time.sleep(_RETRY_S)


def _error(response: Response) -> dict[str, Any]:
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _refusal(response: Response) -> str:
    message = _error(response).get("message") or response.body[:200].decode(errors="replace")
    return f"status {response.status}: {message}"


def unbuffered(arrivals: list[float], *, took: float, whole: float) -> Step:
    """Judge whether text came while it was sampled.

    Args:
        arrivals: When each piece of text came, in seconds.
        took: The seconds from the first token to the last one, as the function measured them.
        whole: The seconds of the whole answer.

    """
    packets = len(set(arrivals))
    seen = f"{len(arrivals)} pieces in {packets} packets; sampling them took {took:.2f} s"
    if took >= _LONG_ENOUGH_S:
        return Step("unbuffered", packets >= min(len(arrivals) / 3, took / _PACKET_S), seen)
    if whole >= 1 and len(arrivals) >= _MANY and packets <= 2:
        return Step("unbuffered", False, f"{seen}, after {whole:.2f} s: they came at once")
    return Step("unbuffered", True, f"{seen}, too short to tell")


def _metered(target: Target, stream: Stream, item: dict[str, Any], spent: list[int]) -> Step:
    """Compare the stream's usage with the ledger item, and all of the key's with its totals.

    `spent` has the tokens of the key's requests before this one, which are added to it.
    """
    usage: dict[str, Any] = next(
        (chunk["usage"] for chunk in stream.chunks[::-1] if chunk.get("usage")), {}
    )
    names = ("prompt_tokens", "completion_tokens")
    told, booked = ([one.get(name) for name in names] for one in (usage, item))
    if item["state"] != "SETTLED" or told != booked:
        return Step(
            "metered", False, f"the stream says {told} tokens, the ledger {booked}, {item['state']}"
        )

    spent[:] = [before + int(now or 0) for before, now in zip(spent, told, strict=True)]
    found: list[Any] = []

    def agree() -> bool:
        totals = (target.send("GET", "/v1/usage").json() or {}).get("totals") or {}
        found[:] = [totals.get(name) for name in names]
        return found == spent

    if not target.wait(agree):
        return Step("metered", False, f"the key has spent {spent} tokens, its totals say {found}")
    return Step("metered", True, f"{told[0]} + {told[1]} tokens in the stream, ledger and totals")


def kept(target: Target) -> Step:
    """Store an answer, cancel another one, and read and delete both."""
    path, model = "/v1/responses", target.outputs["ModelName"]
    asked = {"model": model, "input": "Say hello.", "max_output_tokens": 16, "store": True}
    made = target.send("POST", path, asked)
    if made.status != 200:
        return Step("kept answers", False, f"one is not stored: {_refusal(made)}")
    more = {"max_output_tokens": 256, "background": True}
    begun = target.send("POST", path, {**asked, **more})
    if begun.status != 200:
        return Step("kept answers", False, f"none runs in the background: {_refusal(begun)}")
    first, second = (str((one.json() or {}).get("id")) for one in (made, begun))
    wrong = []
    read = target.send("GET", f"{path}/{first}")
    if read.status != 200 or read.json() != made.json():
        wrong.append(f"a stored answer is read as another one: {read.status}")
    stopped = target.send("POST", f"{path}/{second}/cancel")
    if stopped.status != 200 and b"Cannot cancel a" not in stopped.body:  # it may have ended
        wrong.append(f"an answer is not cancelled: {_refusal(stopped)}")
    target.send("GET", f"{path}/{second}?wait=30")
    for name in (first, second):
        deleted = target.send("DELETE", f"{path}/{name}")
        gone = target.send("GET", f"{path}/{name}")
        if (deleted.status, gone.status) != (200, 404):
            wrong.append(f"deleted: {deleted.status}, and read after that: {gone.status}")
    how = "cancelled" if stopped.status == 200 else "ended"
    seen = f"one stored and read, one {how}, both deleted"
    return Step("kept answers", not wrong, "; ".join(wrong) or seen)


def removed(target: Target, key: str) -> Step:
    """Check that the temporary key is rejected."""
    status = target.send("GET", "/v1/models", key=key).status
    seen = "the temporary key is deleted" if status == 401 else f"the key still gets {status}"
    return Step("key removed", status == 401, seen)
