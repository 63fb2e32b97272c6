"""`sluice playground`: open the page of a deployment, with a key."""

import argparse
import json
import urllib.request
import webbrowser
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from rich.markup import escape

from cli.lib import values
from cli.lib.project import LOCAL, CommandError, why
from cli.lib.stack import LocalStack
from cli.lib.terminal import console, literal, print_json

HELP = "Open the playground of a deployment in a browser, with a key."
_FILE = "playground.html"
_WAIT_S = 15


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    parser.add_argument("--no-open", action="store_true", help="only print the link")
    parser.add_argument(
        "--json", action="store_true", help="only print the link and the page's address, as JSON"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the link, and open it unless told otherwise."""
    stack = LocalStack.of(args.stage, args.stack_name)
    page = page_of(stack)
    if not is_served(stack, page):
        raise CommandError(
            f"{page} is no playground: the deployment has the setting playground=false. Deploy it "
            "with -c playground=true."
        )
    link = link_of(stack)
    if args.json:
        print_json({"url": page, "link": link})
        return
    console.print(literal(link))
    if not stack.api_key:
        command = f"sluice keys create --stage {args.stage} --name NAME"
        console.print(f"The page asks for a key. This makes one: {escape(command)}")
    if not args.no_open and not open_page(link, LOCAL):
        console.print("No browser could be opened here. Open the link yourself.")


def page_of(stack: LocalStack) -> str:
    """Return the address of a stack's page."""
    parts = urlsplit(stack.base_url)
    return f"{parts.scheme}://{parts.netloc}/"


def link_of(stack: LocalStack) -> str:
    """Return a link to the page with the stack's key in the fragment.

    Browsers send no fragment, and the page takes it out of the address.
    """
    return (
        f"{page_of(stack)}#key={quote(stack.api_key, safe='')}" if stack.api_key else page_of(stack)
    )


def open_page(link: str, folder: Path) -> bool:
    """Open a link in the browser; return whether there is one.

    The browser gets the name of a file in `folder` that leads to the link, because all users of the
    machine can read the arguments of a process.
    """
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    from local.trust import private

    private(folder)
    file = folder / _FILE
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(f"<!doctype html><script>location.replace({json.dumps(link)})</script>\n")
    return browser.open(file.as_uri())


def is_served(stack: LocalStack, page: str) -> bool:
    """Return whether a deployment has the page. Raises CommandError if it does not answer."""
    import ssl

    context = (
        None if stack.authority is None else ssl.create_default_context(cafile=stack.authority)
    )
    try:
        with urllib.request.urlopen(page, timeout=_WAIT_S, context=context) as response:  # noqa: S310 - the stack's own address
            return bool(response.headers.get_content_type() == "text/html")
    except HTTPError as refusal:
        refusal.close()
        return False
    except (OSError, HTTPException) as error:
        raise CommandError(f"{page} does not answer: {why(error)}") from None
