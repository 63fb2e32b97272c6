"""Tells the keeper of background responses that one has ended, so that a webhook learns of it.

If the keeper cannot be called, its next run finds the end by itself.
"""

from collections.abc import Callable

from lambda_fn.aws.functions import Functions, NotInvoked
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.runtime.event import ended_event
from lambda_fn.settings import Settings


async def tell_end(
    settings: Settings,
    client: Client,
    credentials: Callable[[], Credentials],
    response_id: str,
    owner: str,
) -> bool:
    """Invoke the keeper for the end of a key's background response. It raises nothing.

    Returns:
        Whether the keeper releases the place that the key has for it: there is a webhook.

    """
    keeper = settings.background.tells
    if keeper is None:
        return False
    functions = Functions(
        client, url=settings.lambda_url, region=settings.region, credentials=credentials
    )
    try:
        await functions.invoke_later(keeper, ended_event(response_id, owner))
    except NotInvoked as error:
        log("end_untold", request_id=response_id, error=str(error))
    return True
