"""Runs the control plane: `python -m local.control_plane`.

It prints its port and token as a line of JSON, and ends when its standard input is closed.
"""

import gc
import json
import logging
import os
import sys
import threading


def main() -> None:
    """Serve until standard input is closed. The end of the parent process closes it."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s control %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    # moto reads these when it is imported.
    os.environ.update(
        {
            "MOTO_LAMBDA_STUB_ECR": "true",
            # A web page must not read a response.
            "MOTO_DISABLE_GLOBAL_CORS": "true",
            "MOTO_ENABLE_ISO_REGIONS": "false",
            # CDK's bootstrap template attaches AdministratorAccess and similar policies.
            "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
            # Larger objects of S3, such as the code of functions, are files and not memory.
            "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536",
        }
    )
    from local.moto import unused_data

    unused_data.install()  # before moto's parts are imported
    from local import limits, trust
    from local.cloudformation import install
    from local.moto import (
        attribute_values,
        backups,
        clients,
        insight_rules,
        items,
        metric_lists,
        percentiles,
        quotas,
        server,
        service_quotas,
        shared,
    )
    from local.moto.alarms import evaluate

    limits.override(json.loads(os.environ.get(limits.CONTROL_LIMITS) or "{}"))
    token = trust.token()
    httpd, served = server.bind(token)
    clients.configure(f"http://localhost:{httpd.port}", {trust.CONTROL: token})
    install.install()
    quotas.install()
    service_quotas.install()
    attribute_values.install()
    backups.install()
    items.install()
    insight_rules.install()
    metric_lists.install()
    percentiles.install()
    shared.install()
    evaluate.install()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=served.watch, daemon=True).start()
    # A request leaves few cycles, and moto's modules and tables stay: the collector looks seldom.
    gc.set_threshold(10_000, 20, 20)
    gc.freeze()
    print(json.dumps({"port": httpd.port, "token": token}), flush=True)
    httpd.serve_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
