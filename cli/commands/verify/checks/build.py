"""Checks of how the container's image is built and handed over."""

from cli.commands.verify.registry import Check, Outcome, Wave, absent, decided, refuted
from cli.commands.verify.target import Target

_BUILDS = "Custom::SluiceImage"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def completed(target: Target) -> Outcome:
    """The build answered CloudFormation from inside."""
    found = [one for one in target.resources if one["ResourceType"] == _BUILDS]
    if not found:
        return absent("the image was not built by CodeBuild: deploy with -c image_build=codebuild")
    wrong = [
        f"{one['LogicalResourceId']}: {one['ResourceStatus']}"
        for one in found
        if not one["ResourceStatus"].endswith("_COMPLETE")
    ]
    return decided(wrong, f"{found[0]['LogicalResourceId']} is {found[0]['ResourceStatus']}")


def first_try(target: Target) -> Outcome:
    """The first build of the project pulled and pushed."""
    projects = target.physical("AWS::CodeBuild::Project")
    if not projects:
        return absent("the image was not built by CodeBuild: deploy with -c image_build=codebuild")
    codebuild = target.client("codebuild")
    ids = codebuild.list_builds_for_project(projectName=projects[0], sortOrder="ASCENDING")["ids"]
    if not ids:
        return refuted(f"{projects[0]} has no build")
    [build] = codebuild.batch_get_builds(ids=ids[:1])["builds"]
    failed = [
        f"{phase['phaseType']}: {phase.get('phaseStatus')}"
        for phase in build["phases"]
        if phase.get("phaseStatus") not in {None, "SUCCEEDED"}
    ]
    if build["buildStatus"] != "SUCCEEDED":
        failed.insert(0, build["buildStatus"])
    return decided(failed, f"build {ids[0]} succeeded at its first try")


def image(target: Target) -> Outcome:
    """The image is in the registry with a manifest that SageMaker takes, and a container runs."""
    uri = target.model["PrimaryContainer"]["Image"]
    registry, _, rest = uri.partition("/")
    if ".dkr.ecr." not in registry:
        return absent(f"the image {uri} is not in ECR")
    name, _, tag = rest.partition(":")
    known = {"imageDigest": tag.partition("@")[2]} if "@" in rest else {"imageTag": tag}
    [found] = target.client("ecr").describe_images(
        registryId=registry.partition(".")[0],
        repositoryName=name.partition("@")[0],
        imageIds=[known],
    )["imageDetails"]
    kind = found.get("imageManifestMediaType", "")
    wrong = [] if kind == _MANIFEST else [f"the manifest is {kind or 'unknown'}"]
    wrong += [
        f"{one['LogicalResourceId']}: {one['ResourceStatus']}"
        for one in target.resources
        if one["ResourceType"] == "Custom::SluiceImageCheck"
        and not one["ResourceStatus"].endswith("_COMPLETE")
    ]
    if target.endpoint["EndpointStatus"] != "InService":
        wrong.append(f"the endpoint is {target.endpoint['EndpointStatus']}")
    return decided(wrong, f"{name}: {kind}; the endpoint is in service")


def contents(target: Target) -> Outcome:
    """The image has all that the container imports, and its demo model."""
    if target.engine not in {"llama_cpp", "scripted"}:
        return absent("the container is not the CPU image of this project")
    lines = target.log_lines(target.endpoint_log, "serving", 0)
    return decided([] if lines else ["no line says `serving`"], "".join(lines[:1]).strip())


CHECKS = (
    Check(
        "base-image",
        "the image builds on the base image that `model/Dockerfile` names, and has Docker's "
        "manifest with docker 29 (`make test-container` has built it on Debian 12 with podman, "
        "whose `BUILDAH_FORMAT=docker` works)",
        "`cdk deploy`: the resource `Custom::SluiceImageCheck` completes; the pushed manifest is "
        "Docker's, and the endpoint is in service",
        Wave.READ,
        image,
    ),
    Check(
        "image-contents",
        "the image with `schema_guard/` and the demo model builds and starts",
        "`docker build -f model/Dockerfile .`; the container's log says `serving`",
        Wave.ARRIVAL,
        contents,
    ),
    Check(
        "codebuild",
        "CodeBuild responds to CloudFormation from inside the build; EventBridge calls the starter "
        "for a build that fails before its commands, and `BatchGetBuilds` has the variables that "
        "it was started with",
        "`-c image_build=codebuild`: the resource `Custom::SluiceImage` completes; deny the role "
        "`s3:GetObject`: the deployment fails within minutes and says why",
        Wave.READ,
        completed,
    ),
    Check(
        "first-build",
        "the first deployment with CodeBuild finds its role's policy in place",
        "`-c image_build=codebuild` into an empty account: the build pulls and pushes at its first "
        "try",
        Wave.READ,
        first_try,
    ),
)
