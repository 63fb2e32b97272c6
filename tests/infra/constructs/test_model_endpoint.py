"""The endpoint in all its kinds: what is deployed for which settings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Environment

from infra.compose import compose
from infra.images import containers
from infra.settings.container_environment import environment
from infra.settings.deployment import DEV, SettingsError
from tests.support.synthesis import Synthesis, synthesise

KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def resource(synthesis: Synthesis, kind: str) -> dict[str, Any]:
    """The only resource of its type, whole."""
    (found,) = synthesis.resources(kind)
    return found


def variant(synthesis: Synthesis) -> dict[str, Any]:
    """The production variant."""
    (found,) = synthesis.the("AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert isinstance(found, dict)
    return found


def policies(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    """Scaling policies by their type."""
    return {
        it["Properties"]["PolicyType"]: it["Properties"]
        for it in synthesis.resources("AWS::ApplicationAutoScaling::ScalingPolicy")
    }


@pytest.fixture(scope="module")
def to_zero(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """A vLLM container on four GPUs that is scaled to zero."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("to-zero"),
        container="vllm",
        instance_type="ml.g6.12xlarge",
        weights="s3://models/seventy/",
        quantization="fp8",
        scale_to_zero=True,
        startup_seconds=1800,
        environment={"SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true"},
    )


@pytest.fixture(scope="module")
def scaled(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Production with TGI in a VPC, scaled by load and by plan."""
    return synthesise(
        "prod",
        project,
        tmp_path_factory.mktemp("scaled"),
        container="tgi",
        instance_type="ml.g5.2xlarge",
        weights="hf:org/gated@v2",
        huggingface_secret="hugging-face",
        max_instances=6,
        schedule=("cron(0 7 ? * MON-FRI *) 2-8", "cron(0 20 ? * * *) 1"),
        schedule_timezone="Europe/Berlin",
        subnets=("subnet-1a", "subnet-2b"),
        security_groups=("sg-1",),
    )


@pytest.fixture(scope="module")
def theirs(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """An endpoint that exists already, another model beside it, and a domain."""
    other = {"endpoint": "Other-One", "context_tokens": 100, "dialect": "tgi"}
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("theirs"),
        endpoint_name="Their-Endpoint",
        dialect="openai",
        other_models={"other": json.dumps(other)},
        domain="api.example.org",
        certificate_arn=CERTIFICATE,
        hosted_zone="Z0123456789ABC:example.org",
    )


@pytest.fixture(scope="module")
def without_docker(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """The image built by CodeBuild, packed weights, a key of one's own."""
    return synthesise(
        "dev",
        project,
        tmp_path_factory.mktemp("codebuild"),
        image_build="codebuild",
        weights="s3://models/one/model.tar.gz",
        kms_key=KEY,
    )


def test_production_shifts_to_a_canary_and_back_on_alarm(syntheses: dict[str, Synthesis]) -> None:
    """An update of two instances begins with one of them; either alarm over the endpoint takes it back."""
    prod = syntheses["prod"]
    deployment = prod.the("AWS::SageMaker::Endpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing == {
        "Type": "CANARY",
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 300,
    }
    alarms = {
        key: it["Properties"]
        for key, it in prod.service["Resources"].items()
        if it["Type"] == "AWS::CloudWatch::Alarm" and it["Properties"]["Namespace"] == "AWS/SageMaker"
    }
    named = [it["AlarmName"]["Ref"] for it in deployment["AutoRollbackConfiguration"]["Alarms"]]
    assert set(named) == set(alarms)
    assert {it["MetricName"] for it in alarms.values()} == {"Invocation5XXErrors", "InvocationModelErrors"}
    for alarm in alarms.values():
        assert {it["Name"]: it["Value"] for it in alarm["Dimensions"]} == {
            "EndpointName": "sluice-prod",
            "VariantName": "primary",
        }
    assert variant(prod)["InitialInstanceCount"] == 2


def test_one_instance_is_replaced_at_once(syntheses: dict[str, Synthesis]) -> None:
    """Where there is no part to begin with, the new instance is still watched before the old one goes."""
    deployment = syntheses["dev"].the("AWS::SageMaker::Endpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing == {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}


def test_no_prompt_is_captured(synthesis: Synthesis) -> None:
    """Data capture is off, and nobody scales what was not asked to be."""
    assert "DataCaptureConfig" not in synthesis.the("AWS::SageMaker::EndpointConfig")
    assert not synthesis.resources("AWS::ApplicationAutoScaling::ScalableTarget")


def test_the_endpoint_can_be_taken_away_and_brought_back(synthesis: Synthesis) -> None:
    """A parameter holds whether the endpoint exists; everything that names it does so by its own name."""
    assert synthesis.service["Parameters"]["EndpointState"]["AllowedValues"] == ["Running", "Stopped"]
    endpoint = resource(synthesis, "AWS::SageMaker::Endpoint")
    assert endpoint["Condition"] == "EndpointRuns"
    (name,) = [key for key, it in synthesis.service["Resources"].items() if it is endpoint]
    others = {key: it for key, it in synthesis.service["Resources"].items() if key != name}
    assert f'"Ref": "{name}"' not in json.dumps([others, synthesis.service["Outputs"]])
    assert f'"Fn::GetAtt": ["{name}"' not in json.dumps([others, synthesis.service["Outputs"]])


def test_to_zero_the_model_is_a_component(to_zero: Synthesis) -> None:
    """The endpoint holds no model but an inference component that takes all GPUs of an instance, and may have none."""
    found = variant(to_zero)
    assert found["ManagedInstanceScaling"] == {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 1}
    assert not {"ModelName", "InitialVariantWeight", "ContainerStartupHealthCheckTimeoutInSeconds"} & set(found)
    assert found["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    configuration = to_zero.the("AWS::SageMaker::EndpointConfig")
    assert configuration["EnableNetworkIsolation"] is True
    assert "Role" in configuration["ExecutionRoleArn"]["Fn::GetAtt"][0]
    component = to_zero.the("AWS::SageMaker::InferenceComponent")
    specification = component["Specification"]
    assert specification["ComputeResourceRequirements"]["NumberOfAcceleratorDevicesRequired"] == 4
    assert specification["StartupParameters"]["ContainerStartupHealthCheckTimeoutInSeconds"] == 1800
    assert component["RuntimeConfig"] == {"CopyCount": 1}
    rollback = component["DeploymentConfig"]
    assert rollback["RollingUpdatePolicy"]["MaximumBatchSize"] == {"Type": "COPY_COUNT", "Value": 1}
    assert len(rollback["AutoRollbackConfiguration"]["Alarms"]) == 2
    assert "DeploymentConfig" not in to_zero.the("AWS::SageMaker::Endpoint")


def test_from_zero_a_failed_request_starts_the_first_copy(to_zero: Synthesis) -> None:
    """Copies follow the requests under way down to none; a step on requests that found none brings the first."""
    target = to_zero.the("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 1)
    assert target["ResourceId"] == "inference-component/sluice-dev-model"
    assert target["ScalableDimension"] == "sagemaker:inference-component:DesiredCopyCount"
    tracking = policies(to_zero)["TargetTrackingScaling"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
    step = policies(to_zero)["StepScaling"]["StepScalingPolicyConfiguration"]
    assert step["AdjustmentType"] == "ChangeInCapacity"
    assert step["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    (alarm,) = [
        it["Properties"]
        for it in to_zero.resources("AWS::CloudWatch::Alarm")
        if it["Properties"]["MetricName"] == "NoCapacityInvocationFailures"
    ]
    assert alarm["Dimensions"] == [{"Name": "InferenceComponentName", "Value": "sluice-dev-model"}]
    (action,) = alarm["AlarmActions"]
    assert to_zero.service["Resources"][action["Ref"]]["Properties"]["PolicyType"] == "StepScaling"


def test_the_function_names_the_component(to_zero: Synthesis) -> None:
    """The function invokes the component by name and dialect, and may invoke nothing else."""
    environment = to_zero.function("lambda_fn.stream.main.handler")["Environment"]["Variables"]
    told = json.loads(environment["SLUICE_MODELS"])["sluice-demo"]
    assert (told["endpoint"], told["component"], told["dialect"]) == ("sluice-dev", "sluice-dev-model", "openai")
    text = json.dumps(to_zero.resources("AWS::IAM::Policy"))
    assert ":endpoint/sluice-dev" in text
    assert ":inference-component/sluice-dev-model" in text


def test_a_container_of_aws_is_of_the_deployments_region(to_zero: Synthesis) -> None:
    """The image is looked up by region when it is deployed, and pulled from AWS's own account there."""
    container = to_zero.the("AWS::SageMaker::Model")["PrimaryContainer"]
    name, region, member = container["Image"]["Fn::FindInMap"]
    assert (region, member) == ({"Ref": "AWS::Region"}, "uri")
    regions = to_zero.service["Mappings"][name]
    assert {key: it["uri"] for key, it in regions.items()} == containers()["vllm"].uris
    assert all(it["uri"].startswith(f"{it['account']}.dkr.ecr.") for it in regions.values())
    assert variant(to_zero)["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"


def test_vllm_is_told_its_settings(to_zero: Synthesis) -> None:
    """The settings go under the server's own names, with what else it is to be told."""
    container = to_zero.the("AWS::SageMaker::Model")["PrimaryContainer"]
    assert container["Environment"] == {
        "SM_VLLM_MODEL": "/opt/ml/model",
        "SM_VLLM_SERVED_MODEL_NAME": "sluice-demo",
        "SM_VLLM_MAX_MODEL_LEN": "4096",
        "SM_VLLM_MAX_NUM_SEQS": "16",
        "SM_VLLM_TENSOR_PARALLEL_SIZE": "4",
        "SM_VLLM_QUANTIZATION": "fp8",
        "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true",
    }
    source = container["ModelDataSource"]["S3DataSource"]
    assert (source["S3DataType"], source["CompressionType"]) == ("S3Prefix", "None")


def test_a_gated_models_token_is_a_reference(scaled: Synthesis) -> None:
    """The token is in no template; the container that downloads is the one that may call out."""
    model = scaled.the("AWS::SageMaker::Model")
    environment = model["PrimaryContainer"]["Environment"]
    assert environment["HF_TOKEN"] == "{{resolve:secretsmanager:hugging-face:SecretString:::}}"
    assert (environment["HF_MODEL_ID"], environment["REVISION"]) == ("org/gated", "v2")
    assert (environment["MAX_TOTAL_TOKENS"], environment["SM_NUM_GPUS"]) == ("4096", "1")
    assert "ModelDataSource" not in model["PrimaryContainer"]
    assert model["EnableNetworkIsolation"] is False
    assert variant(scaled)["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-3-1"  # TGI's CUDA is 12.4


def test_a_vpc_has_two_zones(scaled: Synthesis) -> None:
    """The containers' network interfaces are in the subnets that are named, and the role may make them."""
    assert scaled.the("AWS::SageMaker::Model")["VpcConfig"] == {
        "Subnets": ["subnet-1a", "subnet-2b"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert "ec2:CreateNetworkInterfacePermission" in json.dumps(scaled.resources("AWS::IAM::Policy"))


def test_instances_follow_the_requests_under_way(scaled: Synthesis) -> None:
    """The high-resolution metric, three quarters of what an instance takes at once, slow down, quick up."""
    target = scaled.the("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 8)
    assert target["ResourceId"] == "endpoint/sluice-prod/variant/primary"
    tracking = policies(scaled)["TargetTrackingScaling"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    assert (tracking["TargetValue"], tracking["ScaleInCooldown"], tracking["ScaleOutCooldown"]) == (12, 600, 60)
    assert scaled.the("AWS::SageMaker::Endpoint")["RetainAllVariantProperties"] is True
    for kind in ("ScalableTarget", "ScalingPolicy"):  # they are gone while the endpoint is
        assert resource(scaled, f"AWS::ApplicationAutoScaling::{kind}")["Condition"] == "EndpointRuns"


def test_scaling_can_be_planned(scaled: Synthesis) -> None:
    """Each plan is a scheduled action in the zone that is named."""
    actions = scaled.the("AWS::ApplicationAutoScaling::ScalableTarget")["ScheduledActions"]
    found = [(it["Schedule"], it["Timezone"], it["ScalableTargetAction"]) for it in actions]
    assert found == [
        ("cron(0 7 ? * MON-FRI *)", "Europe/Berlin", {"MinCapacity": 2, "MaxCapacity": 8}),
        ("cron(0 20 ? * * *)", "Europe/Berlin", {"MinCapacity": 1, "MaxCapacity": 1}),
    ]


def test_an_endpoint_that_exists_is_left_alone(theirs: Synthesis) -> None:
    """Nothing of SageMaker is deployed; the function is told of both models and may invoke both endpoints."""
    assert not [it for it in theirs.service["Resources"].values() if it["Type"].startswith("AWS::SageMaker::")]
    environment = theirs.function("lambda_fn.stream.main.handler")["Environment"]["Variables"]
    told = json.loads(environment["SLUICE_MODELS"])
    assert told["sluice-demo"]["endpoint"] == "Their-Endpoint"
    assert told["sluice-demo"]["dialect"] == "openai"
    assert told["other"] == {"endpoint": "Other-One", "context_tokens": 100, "dialect": "tgi"}
    text = json.dumps(theirs.resources("AWS::IAM::Policy"))
    assert ":endpoint/their-endpoint" in text
    assert ":endpoint/other-one" in text


def test_a_domain_has_its_certificate_and_records(theirs: Synthesis) -> None:
    """The distribution answers to the domain with TLS 1.2 at least, and Route 53 points there by both kinds."""
    config = theirs.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    assert config["Aliases"] == ["api.example.org"]
    assert config["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    records = [it["Properties"] for it in theirs.resources("AWS::Route53::RecordSet")]
    assert {it["Type"] for it in records} == {"A", "AAAA"}
    assert {it["Name"] for it in records} == {"api.example.org."}
    assert theirs.service["Outputs"]["Domain"]["Value"] == "api.example.org"


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_certificate_is_made_where_cloudfront_reads_it(project: Path, tmp_path: Path, region: str) -> None:
    """A domain whose zone is named gets a certificate, in us-east-1 wherever the service is, proven by the zone."""
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    settings = DEV.replace(domain="api.example.org", hosted_zone="Z0123456789ABC:example.org")
    home = Environment(account="123456789012", region=region)
    _, service = compose(app, settings=settings, root=project, home=home)
    stacks = {stack.stack_name: stack for stack in app.synth().stacks}
    name = str(settings.certificate_stack)
    made = stacks[name]
    assert made.environment.region == "us-east-1"
    (certificate,) = [it for it in made.template["Resources"].values() if "CertificateManager" in it["Type"]]
    assert certificate["Properties"]["DomainName"] == "api.example.org"
    assert certificate["Properties"]["ValidationMethod"] == "DNS"
    [option] = certificate["Properties"]["DomainValidationOptions"]
    assert option["HostedZoneId"] == "Z0123456789ABC"
    found = stacks[service.stack_name]
    assert found.environment.region == region
    assert name in [it.id for it in found.dependencies]
    (edge,) = [it for it in found.template["Resources"].values() if it["Type"] == "AWS::CloudFront::Distribution"]
    assert name.replace("-", "") in json.dumps(edge).replace("-", "")
    other = settings.replace(domain="api2.example.org")
    assert other.certificate_stack != name  # so that the service can move from one to the other


def test_a_certificate_needs_to_know_where(project: Path, tmp_path: Path) -> None:
    """Without credentials nobody knows the account and region, and that is said."""
    settings = DEV.replace(domain="api.example.org", hosted_zone="Z0123456789ABC:example.org")
    with pytest.raises(SettingsError, match="set CDK_DEFAULT_ACCOUNT and CDK_DEFAULT_REGION"):
        compose(App(outdir=str(tmp_path), analytics_reporting=False), settings=settings, root=project)


def test_codebuild_builds_what_docker_would(without_docker: Synthesis) -> None:
    """The image's tag says its sources; the model waits for the build, whose repository goes with the stack."""
    project = without_docker.the("AWS::CodeBuild::Project")
    assert 'docker build --platform linux/amd64 --target \\"$TARGET\\"' in project["Source"]["BuildSpec"]
    told = {it["Name"]: it["Value"] for it in project["Environment"]["EnvironmentVariables"]}
    assert told["TARGET"] == "cpu"
    assert project["Environment"]["PrivilegedMode"] is True
    repository = resource(without_docker, "AWS::ECR::Repository")
    assert (repository["DeletionPolicy"], repository["Properties"]["EmptyOnDelete"]) == ("Delete", True)
    assert repository["Properties"]["ImageTagMutability"] == "IMMUTABLE"
    (done,) = [key for key, it in without_docker.service["Resources"].items() if it["Type"] == "Custom::SluiceImage"]
    model = resource(without_docker, "AWS::SageMaker::Model")
    assert done in model["DependsOn"]
    tag = without_docker.service["Resources"][done]["Properties"]["Tag"]
    assert tag.startswith("cpu-")  # another engine is another image of the same sources
    assert json.dumps(model["Properties"]["PrimaryContainer"]["Image"]).endswith(f':{tag}"]]}}')


def test_the_build_starts_with_all_that_it_needs(without_docker: Synthesis) -> None:
    """The first deployment's build waits for the project, its role and every policy of it; its starter likewise."""
    resources = without_docker.service["Resources"]

    def awaited(names: list[str]) -> set[str]:
        """What is there when these are: their dependencies, and those of them."""
        found: set[str] = set()
        while names:
            name = names.pop()
            if name not in found:
                found.add(name)
                named = re.findall(
                    r'"(?:Ref|Fn::GetAtt)": \[?"(\w+)"', json.dumps(resources[name].get("Properties", {}))
                )
                names += [it for it in [*named, *resources[name].get("DependsOn", [])] if it in resources]
        return found

    (done,) = [name for name, it in resources.items() if it["Type"] == "Custom::SluiceImage"]
    there = awaited([done])
    (project,) = [name for name, it in resources.items() if it["Type"] == "AWS::CodeBuild::Project"]
    function = resources[done]["Properties"]["ServiceToken"]["Fn::GetAtt"][0]
    roles = {
        resources[project]["Properties"]["ServiceRole"]["Fn::GetAtt"][0],
        resources[function]["Properties"]["Role"]["Fn::GetAtt"][0],
    }
    policies = {
        name
        for name, it in resources.items()
        if it["Type"] == "AWS::IAM::Policy" and roles & {role.get("Ref") for role in it["Properties"]["Roles"]}
    }
    assert len(policies) == 2
    assert {project, *roles, *policies} <= there


def test_packed_weights_are_unpacked_and_volumes_encrypted(without_docker: Synthesis) -> None:
    """A JumpStart-style archive is declared as one, and the machine's volume takes the key that is named."""
    source = without_docker.the("AWS::SageMaker::Model")["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source == {
        "S3Uri": "s3://models/one/model.tar.gz",
        "S3DataType": "S3Object",
        "CompressionType": "Gzip",
    }
    assert without_docker.the("AWS::SageMaker::EndpointConfig")["KmsKeyId"] == KEY


@pytest.mark.parametrize(
    ("container", "name"),
    [("sglang", "SM_SGLANG_CONTEXT_LENGTH"), ("lmi", "OPTION_MAX_MODEL_LEN"), ("tgi", "MAX_TOTAL_TOKENS")],
)
def test_each_container_is_told_the_context_under_its_own_name(container: str, name: str) -> None:
    """What money depends on, the longest context, is enforced by the server itself."""
    settings = DEV.replace(container=container, instance_type="ml.g6.xlarge", weights="s3://models/one/")
    told = environment(settings)
    assert told[name] == "4096"
    assert "/opt/ml/model" in told.values()
    assert all(len(key) <= 1024 and len(value) <= 1024 for key, value in told.items())


def test_our_container_on_gpus_is_told_its_model() -> None:
    """The vLLM engine gets its model's id and the GPUs of the instance."""
    settings = DEV.replace(engine="vllm", instance_type="ml.g6.12xlarge", weights="hf:org/model@main")
    told = environment(settings)
    assert told["SLUICE_ENGINE"] == "vllm"
    assert (told["SLUICE_MODEL_ID"], told["SLUICE_MODEL_REVISION"]) == ("org/model", "main")
    assert told["SLUICE_TENSOR_PARALLEL"] == "4"


def test_an_unknown_gpu_instance_must_say_its_gpus() -> None:
    """A type that came after this table needs the number, and takes it."""
    settings = DEV.replace(container="vllm", instance_type="ml.g99.huge", weights="hf:o/m")
    with pytest.raises(SettingsError, match="say tensor_parallel, its GPUs"):
        environment(settings)
    assert environment(settings.replace(tensor_parallel=3))["SM_VLLM_TENSOR_PARALLEL_SIZE"] == "3"


def test_too_many_variables_are_refused() -> None:
    """SageMaker takes a hundred."""
    settings = DEV.replace(environment={f"A{number}": "x" for number in range(100)})
    with pytest.raises(SettingsError, match="SageMaker takes 100 variables, with ours it is 105"):
        environment(settings)


def test_the_images_name_their_origin() -> None:
    """The committed file says when it was written and by which SDK, and has the images of every common region."""
    found = json.loads((Path(__file__).parents[3] / "infra/images/images.json").read_text())
    assert found["written"] >= "2026-11-21"
    assert found["sagemaker"].startswith("3.")
    assert set(found["containers"]) == {"vllm", "sglang", "lmi", "tgi"}
    for container in containers().values():
        assert {"us-east-1", "eu-central-1", "ap-northeast-1"} <= set(container.uris)
        assert {uri.split("/")[1].partition(":")[0] for uri in container.uris.values()} == {container.repository}
