"""DynamoDB as the local cloud has it: moto, with the tables of usage and of kept responses.

    python -m bench.adapter.dynamodb        prints its port

It stores everything, unlike `bench.adapter.table`, so that what was logged can be read. A call
takes some milliseconds, as on AWS.
"""

import threading
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from bench.adapter.table import KEY
from lambda_fn.metering import accounts
from local.moto import attribute_values
from tests.support.stream_tables import stream_table

_KEYS = {"pk": "HASH", "sk": "RANGE"}


def main() -> None:
    """Serve on loopback, print the port, and go on until killed."""
    attribute_values.install()
    moto = DomainDispatcherApplication(create_backend_app)
    one_at_a_time = threading.Lock()  # moto has no locks

    def application(environ: Any, start_response: Any) -> Any:
        with one_at_a_time:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _fill(f"http://127.0.0.1:{server.port}")
    print(server.port, flush=True)
    threading.Event().wait()


def _fill(url: str) -> None:
    options = {"region_name": "eu-west-1", "endpoint_url": url}
    secrets = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    resource = boto3.resource("dynamodb", **options, **secrets)
    usage = resource.create_table(
        TableName="usage",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in _KEYS.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in _KEYS],
    )
    usage.put_item(Item=accounts.new_account(KEY, name="bench", now=1))
    resource.create_table(**stream_table("streams"))


if __name__ == "__main__":
    main()
