"""The image built by CodeBuild."""

import json
import re

from tests.support.synthesis import Synthesis, resource


def test_codebuild_builds_what_docker_would(without_docker: Synthesis) -> None:
    """The image's tag is a hash of its sources. The model waits for the build.

    The repository is removed with the stack.
    """
    project = without_docker.the("AWS::CodeBuild::Project")
    (built,) = re.findall(
        r"docker buildx build .*? &&", project["Source"]["BuildSpec"].replace("\\\\\\n", "")
    )
    for option in (
        "--platform linux/amd64",
        '--target \\"$TARGET\\"',
        "--provenance=false",
        "--sbom=false",
        "--output type=docker,oci-mediatypes=false",
    ):
        assert option in built
    variables = {it["Name"]: it["Value"] for it in project["Environment"]["EnvironmentVariables"]}
    assert variables["TARGET"] == "cpu"
    assert project["Environment"]["PrivilegedMode"] is True
    repository = resource(without_docker, "AWS::ECR::Repository")
    assert (repository["DeletionPolicy"], repository["Properties"]["EmptyOnDelete"]) == (
        "Delete",
        True,
    )
    assert repository["Properties"]["ImageTagMutability"] == "IMMUTABLE"
    (image_name,) = [
        key
        for key, it in without_docker.service["Resources"].items()
        if it["Type"] == "Custom::SluiceImage"
    ]
    model = resource(without_docker, "AWS::SageMaker::Model")
    checked = resource(without_docker, "Custom::SluiceImageCheck")
    assert image_name in checked["DependsOn"]
    tag = without_docker.service["Resources"][image_name]["Properties"]["Tag"]
    assert tag.startswith("cpu-docker-")  # another engine makes another image of the same sources
    assert json.dumps(model["Properties"]["PrimaryContainer"]["Image"]).endswith(f':{tag}"]]}}')


def test_the_build_starts_with_all_that_it_needs(without_docker: Synthesis) -> None:
    """The first build waits for the project, its role and every policy of the role.

    So does the function that starts it.
    """
    resources = without_docker.service["Resources"]

    def awaited(names: list[str]) -> set[str]:
        """Return everything that these resources depend on, directly or not."""
        needed: set[str] = set()
        while names:
            name = names.pop()
            if name not in needed:
                needed.add(name)
                named = re.findall(
                    r'"(?:Ref|Fn::GetAtt)": \[?"(\w+)"',
                    json.dumps(resources[name].get("Properties", {})),
                )
                names += [
                    it for it in [*named, *resources[name].get("DependsOn", [])] if it in resources
                ]
        return needed

    (image_name,) = [name for name, it in resources.items() if it["Type"] == "Custom::SluiceImage"]
    needed_by_image = awaited([image_name])
    (project,) = [name for name, it in resources.items() if it["Type"] == "AWS::CodeBuild::Project"]
    function = resources[image_name]["Properties"]["ServiceToken"]["Fn::GetAtt"][0]
    roles = {
        resources[project]["Properties"]["ServiceRole"]["Fn::GetAtt"][0],
        resources[function]["Properties"]["Role"]["Fn::GetAtt"][0],
    }
    policies = {
        name
        for name, it in resources.items()
        if it["Type"] == "AWS::IAM::Policy"
        and roles & {role.get("Ref") for role in it["Properties"]["Roles"]}
    }
    assert len(policies) == 2
    assert {project, *roles, *policies} <= needed_by_image


def test_a_build_that_fails_in_any_phase_is_reported(without_docker: Synthesis) -> None:
    """EventBridge calls the function that started the build when it ends without success.

    A build that waits and one that runs end before CloudFormation's hour does.
    """
    resources = without_docker.service["Resources"]
    project, properties = next(
        (name, it["Properties"])
        for name, it in resources.items()
        if it["Type"] == "AWS::CodeBuild::Project"
    )
    assert properties["QueuedTimeoutInMinutes"] + properties["TimeoutInMinutes"] < 60
    (rule,) = [
        it["Properties"]
        for it in without_docker.resources("AWS::Events::Rule")
        if "EventPattern" in it["Properties"]
    ]
    assert rule["EventPattern"] == {
        "source": ["aws.codebuild"],
        "detail-type": ["CodeBuild Build State Change"],
        "detail": {
            "project-name": [{"Ref": project}],
            "build-status": ["FAILED", "FAULT", "STOPPED", "TIMED_OUT"],
        },
    }
    image = resource(without_docker, "Custom::SluiceImage")
    assert rule["Targets"][0]["Arn"] == image["Properties"]["ServiceToken"]
    (permission,) = [
        it["Properties"]
        for it in without_docker.resources("AWS::Lambda::Permission")
        if it["Properties"]["FunctionName"] == image["Properties"]["ServiceToken"]
    ]
    assert permission["Principal"] == "events.amazonaws.com"


def test_the_base_image_is_pulled_again_when_the_registry_refuses(
    without_docker: Synthesis,
) -> None:
    """Docker Hub limits pulls by address, and CodeBuild shares its addresses."""
    specification = without_docker.the("AWS::CodeBuild::Project")["Source"]["BuildSpec"]
    assert 'docker pull -q \\"$BASE\\" && break; sleep' in specification
