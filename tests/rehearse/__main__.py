"""`make rehearse`: everything that a first deployer does, in order, and what comes after.

The real commands run against a local cloud with a new account's limits. What is printed is the
transcript. The exit status is 1 when something is not as it must be.
"""

import argparse
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from cli.lib.project import ROOT
from lambda_fn.metering.keys import account_key
from local.cloud import LocalCloud, LocalCloudError
from tests.rehearse.account import HERE, LIMITS, Account, RehearsalError, check
from tests.rehearse.traffic import Traffic

RELEASED = "8f4a1b65be776fa3fcb518a083896d85c6f558c0"
"""The commit of 0.1.0."""
SOURCES = (
    "app.py",
    "cdk.json",
    "pyproject.toml",
    "package-lock.json",
    "infra",
    "lambda_fn",
    "model",
    "schema_guard",
    "web",
)
LINKED = ("demo_model", "locks", "node_modules")
CODEBUILD = ["-c", "image_build=codebuild"]


def first_deployment(account: Account) -> None:
    """Everything that a new account lacks is told with what gets one past it; then it deploys."""
    account.chapter("A new account: no bootstrap, no docker, quota 0, 10 functions at once")
    account.push()
    told = account.run(["sluice", "preflight", "--stage", "dev"], good=False).output
    for obstacle in (
        "CDK is not bootstrapped",
        "0 ml.c5.large for endpoint usage",
        "docker-is-not-installed",
        "10 functions at once",
    ):
        check(obstacle in told, f"preflight tells: {obstacle}")
    refused = account.deploy("dev", good=False)
    check("bootstrap" in refused.output, "`cdk deploy` itself asks for the bootstrap")
    commands = [line.strip() for line in told.splitlines()]
    check("npx cdk bootstrap -c stage=dev" in commands, "the command that bootstraps is printed")
    account.run(
        [str(ROOT / "node_modules/.bin/cdk"), "bootstrap", "-c", "stage=dev", "--ci"], shown=False
    )
    check("# or deploy with -c image_build=codebuild" in commands, "there is a way without docker")
    told = account.run(["sluice", "preflight", "--stage", "dev", *CODEBUILD], good=False).output
    wanted = [line.strip() for line in told.splitlines() if "--service-code sagemaker" in line]
    refused = account.deploy("dev", good=False)
    check("ResourceLimitExceeded" in refused.output or "service limit" in refused.output,
          "without the quota, SageMaker refuses the endpoint, and the stack is rolled back")  # fmt: skip
    for command in wanted:
        account.do(command)
    account.run(["sluice", "preflight", "--stage", "dev", *CODEBUILD])
    account.deploy("dev")  # the CDK CLI removes the stack that was rolled back
    account.run(["sluice", "smoke", "--stage", "dev"])


def key_of(account: Account, stage: str) -> tuple[str, str]:
    """Make a key, and return its id and secret."""
    made = account.run(
        ["sluice", "keys", "create", "--name", "team", "--stage", stage, "--json"], shown=False
    )
    found = json.loads(made.output[made.output.index("{") :])
    return found["id"], found["secret"]


def traffic(account: Account, stage: str, secret: str) -> Traffic:
    """Return streams of a stage with a key."""
    outputs = account.outputs(stage)
    return Traffic(
        f"https://{outputs['DistributionDomain']}",
        secret,
        outputs["ModelName"],
        str(account.cloud.authority),
    )


def totals(account: Account, stage: str, key_id: str) -> dict[str, Any]:
    """Return a key's account item."""
    table = account.outputs(stage)["UsageTableName"]
    found = account.client("dynamodb").get_item(
        TableName=table,
        Key={name: {"S": value} for name, value in account_key(key_id).items()},
        ConsistentRead=True,
    )
    return dict(found["Item"])


def store(account: Account, secret: str) -> str:
    """Store an answer in a stage, and return its address."""
    outputs = account.outputs("prod")
    address = f"https://{outputs['DistributionDomain']}/v1/responses"
    body = {"model": outputs["ModelName"], "input": "Hi", "store": True, "max_output_tokens": 8}
    made = httpx.post(address, json=body, **caller(account, secret))
    check(made.status_code == 200, f"an answer is stored: {made.status_code}")
    return f"{address}/{made.json()['id']}"


def still_stored(account: Account, secret: str, address: str) -> None:
    """Check that a stored answer is there."""
    read = httpx.get(address, **caller(account, secret))
    check(read.status_code == 200, f"the stored answer is still there: {read.status_code}")


def caller(account: Account, secret: str) -> dict[str, Any]:
    """Return the arguments of httpx for a call of the public API."""
    trust = ssl.create_default_context(cafile=str(account.cloud.authority))
    return {"headers": {"authorization": f"Bearer {secret}"}, "verify": trust, "timeout": 60}


def grant_invoke(account: Account, stage: str) -> None:
    """Grant the action that 0.1.0 lacks. The local cloud asks for it, as its API reference does."""
    name = account.outputs(stage)["FunctionName"]
    found = account.client("lambda").get_function_configuration(FunctionName=name)
    statement = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": "*"}
    account.client("iam").put_role_policy(
        RoleName=found["Role"].rpartition("/")[2],
        PolicyName="invoke",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )


def second_stage(account: Account) -> str:
    """Deploy a second stage without an upgrade. Return the secret of a key."""
    account.chapter("A second stage in the account")
    account.deploy("prod", reserved_concurrency="none", canary_minutes="none")
    account.run(["sluice", "smoke", "--stage", "prod"])
    return key_of(account, "prod")[1]


def upgrade(account: Account, old: Path) -> str:
    """A second stage, from the release before, is upgraded while streams run.

    Return the secret of a key.
    """
    account.chapter("A second stage in the account, from 0.1.0, and its upgrade while streams run")
    told = account.run(["sluice", "preflight", "--stage", "prod", *CODEBUILD], good=False).output
    check("which leaves" in told, "preflight tells: 10 functions are too few to reserve any")
    check("-c reserved_concurrency=none" in told, "there is a way without a higher quota")
    account.deploy("prod", root=old, reserved_concurrency="none", image_uri=HERE["image_uri"])
    grant_invoke(account, "prod")
    key_id, secret = key_of(account, "prod")
    with traffic(account, "prod", secret) as before:
        pass
    check(before.whole, f"0.1.0 serves: {before.whole} streams")
    was = totals(account, "prod", key_id)
    table = account.outputs("prod")["UsageTableName"]
    with traffic(account, "prod", secret) as running:
        account.deploy("prod", reserved_concurrency="none", canary_minutes="none")
    check(not running.broken, f"no stream broke in the upgrade: {running.broken[:1]}")
    check(set(running.statuses) == {200}, f"no request was refused: {running.statuses}")
    check(account.outputs("prod")["UsageTableName"] == table, "the table is the same")
    now = totals(account, "prod", key_id)
    check(int(now["requests"]["N"]) > int(was["requests"]["N"]), "old accounts go on counting")
    account.run(["sluice", "smoke", "--stage", "prod"])
    account.run(["sluice", "usage", "reconcile", "--stage", "prod"])
    return secret


def broken_deployment(account: Account, secret: str, folder: Path) -> None:
    """A version that does not start gets a tenth of the requests, and is rolled back."""
    account.chapter("A deployment that is broken, while streams run")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy2(source, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "lambda_fn" / "bootstrap").write_text("#!/bin/sh\nexit 1\n")
    with traffic(account, "prod", secret) as running:
        failed = account.deploy(
            "prod", root=folder, good=False, reserved_concurrency="none", canary_minutes="5"
        )
    check("is in the state ALARM" in failed.output, "CodeDeploy stopped it, and says which alarm")
    status = account.status("sluice-prod-service")
    check(status == "UPDATE_ROLLBACK_COMPLETE", f"the stack is {status}")
    check(502 in running.statuses, f"some requests met the broken version: {running.statuses}")
    check(running.statuses[200] > running.statuses[502], "most requests were served all the time")
    check(not running.broken, f"no stream broke that had begun: {running.broken[:1]}")
    with traffic(account, "prod", secret) as after:
        pass
    check(set(after.statuses) == {200}, f"afterwards all are served: {after.statuses}")
    account.run(["sluice", "smoke", "--stage", "prod"])


def restored(account: Account) -> None:
    """The table is restored, and the deployment uses the restored one."""
    account.chapter("A restore of the usage table")
    account.run(["sluice", "stop", "--stage", "prod", "--yes"])
    made = account.run(["sluice", "restore", "--stage", "prod", "--yes", "--json"])
    found = json.loads(made.output[made.output.index("{") :])
    check(found["differences"] == 0, "accounts, ledger and rollups of the new table agree")
    account.deploy(
        "prod",
        reserved_concurrency="none",
        canary_minutes="none",
        usage_table=found["table"],
    )
    account.run(["sluice", "stop", "--undo", "--stage", "prod"])
    account.run(["sluice", "smoke", "--stage", "prod"])
    account.run(["sluice", "usage", "reconcile", "--stage", "prod"])


def again(account: Account) -> None:
    """A stage is destroyed and deployed again; the other one does not notice."""
    account.chapter("Destroy a stage, and deploy it again")
    account.run(["sluice", "destroy", "--stage", "dev", "--yes"])
    account.run(["sluice", "smoke", "--stage", "prod"])
    account.deploy("dev")
    account.run(["sluice", "smoke", "--stage", "dev"])


def main() -> int:
    """Run the rehearsal. Return the exit status."""
    parser = argparse.ArgumentParser(prog="make rehearse", description=__doc__)
    parser.add_argument("--released", default=RELEASED, help="the commit of the version before")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rehearse-") as name:
        folder = Path(name)
        old = released(args.released, folder / "released")
        limits = [f"--limit={limit}={value}" for limit, value in LIMITS.items()]
        try:
            cloud = LocalCloud.start(folder / "cloud", tls=True, options=limits)
            account = Account(cloud)
            try:
                rehearse(account, old, folder / "broken")
            except RehearsalError:
                print(*(f"   {line}" for line in account.unseen), sep="\n", flush=True)
                raise
            finally:
                cloud.stop()
        except (RehearsalError, LocalCloudError) as error:
            print(f"\nrehearse: this is not so: {error}", file=sys.stderr)
            return 1
        finally:
            if old is not None:
                subprocess.run(
                    ["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=False
                )
    return 0


def released(commit: str, folder: Path) -> Path | None:
    """Check a commit out into a folder, and return it; None if this clone does not have it."""
    done = subprocess.run(
        ["git", "worktree", "add", "--detach", "--force", str(folder), commit],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return folder
    print(
        f"rehearse: the upgrade is left out, because the release before is not in this clone "
        f"({done.stderr.strip()}). `git fetch --unshallow` fetches its history.",
        file=sys.stderr,
    )
    return None


def rehearse(account: Account, old: Path | None, broken: Path) -> None:
    """Run each chapter.

    Raises:
        RehearsalError: something is not as it must be.

    """
    first_deployment(account)
    secret = second_stage(account) if old is None else upgrade(account, old)
    stored = store(account, secret)
    broken.mkdir()
    broken_deployment(account, secret, broken)
    still_stored(account, secret, stored)
    restored(account)
    still_stored(account, secret, stored)
    again(account)
    account.chapter("Everything is as it must be")


if __name__ == "__main__":
    sys.exit(main())
