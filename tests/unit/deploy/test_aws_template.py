"""The CloudFormation template: linted, created against moto's API, and read back as visitors, discovery and IAM would."""

import ast
import base64
import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import structlog
from click.testing import CliRunner

from replicator import presets
from replicator.cli import commands
from replicator.config import load
from replicator.presets.rendering import cloudformation_parameters
from tests.support import PROJECT
from tests.support import aws as cloud
from tests.support.aws import REGION, Cloud

AWS = PROJECT / "deploy/aws"
TEMPLATE = AWS / "template.yaml"
STACK = "shop"
GROUP = f"{STACK}-frontends"
SCRIPTS = sorted((AWS / "user-data").glob("*.sh"))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA shop"

pytestmark = pytest.mark.filterwarnings(
    "ignore:Tried to parse .* not supported by moto:UserWarning"
)


@pytest.fixture(scope="module")
def text():
    """The template as plain values: `!Ref X` is {"Ref": "X"}."""
    decode = pytest.importorskip("cfnlint.decode.cfn_yaml")
    return json.loads(json.dumps(decode.load(str(TEMPLATE))))


@pytest.fixture
def api(monkeypatch):
    cloud.set_credentials(monkeypatch)
    with Cloud() as made:
        yield made


class Stack:
    """One stack that moto has made."""

    def __init__(self, api, preset="wordpress", **parameters):
        session = boto3.session.Session("testing", "testing", region_name=REGION)
        self.api = api
        self._client = session.client("cloudformation", endpoint_url=api.url)
        certificate = session.client("acm", endpoint_url=api.url).request_certificate(
            DomainName="shop.example.com"
        )
        subnets = ",".join(api.subnets)
        given = {
            "VpcId": api.vpc,
            "LoadBalancerSubnets": subnets,
            "ServerSubnets": subnets,
            "BackendSubnet": api.subnets[0],
            "BackendImageId": "ami-12c6146b",
            "CertificateArn": certificate["CertificateArn"],
            "PackageUrl": "https://example.com/replicator-1-py3-none-any.whl",
            "CacheHost": "redis.example.com",  # moto does not know ElastiCache
            "BackendPublicKey": KEY,
            "Preset": preset,
            **cloudformation_parameters(presets.load(preset).filled({})),
            **parameters,
        }
        self._client.create_stack(
            StackName=STACK,
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": str(v)} for k, v in given.items()],
        )
        described = self._client.describe_stacks(StackName=STACK)["Stacks"][0]
        assert described["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in described["Outputs"]}
        self.resources = {
            row["LogicalResourceId"]: row["PhysicalResourceId"]
            for row in self._client.describe_stack_resources(StackName=STACK)["StackResources"]
            if "PhysicalResourceId" in row  # moto skips what it does not know
        }

    def listener(self, port):
        arn = self.resources["LoadBalancer"]
        (found,) = [
            one
            for one in self.api.elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
            if one["Port"] == port
        ]
        return found

    def answering(self, *, path="/", cookie="", query=()):
        """Return the logical name of the target group that gets a request."""
        rows = self.api.elb.describe_rules(ListenerArn=self.listener(443)["ListenerArn"])["Rules"]
        numbered = [row for row in rows if row["Priority"] != "default"]
        numbered.sort(key=lambda row: int(row["Priority"]))
        default = [row for row in rows if row["Priority"] == "default"]
        for row in numbered + default:
            if all(_holds(c, path, cookie, dict(query)) for c in row["Conditions"]):
                return self._name_of(row["Actions"][0]["TargetGroupArn"])
        raise AssertionError("no rule answers")

    def _name_of(self, arn):
        return next(name for name, physical in self.resources.items() if physical == arn)

    def user_data(self, instance):
        answer = self.api.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
        return base64.b64decode(answer["UserData"]["Value"]).decode()


def _holds(condition, path, cookie, query):
    if condition["Field"] == "path-pattern":
        return any(fnmatch.fnmatchcase(path, v) for v in condition["PathPatternConfig"]["Values"])
    if condition["Field"] == "http-header":
        header = condition["HttpHeaderConfig"]
        assert header["HttpHeaderName"] == "Cookie"
        return any(fnmatch.fnmatchcase(cookie.lower(), v.lower()) for v in header["Values"])
    assert condition["Field"] == "query-string"
    return any(
        key.lower() == value["Key"].lower()
        and fnmatch.fnmatchcase(given.lower(), value["Value"].lower())
        for value in condition["QueryStringConfig"]["Values"]
        for key, given in query.items()
    )


def test_cfn_lint_finds_nothing():
    pytest.importorskip("cfnlint")
    done = subprocess.run([Path(sys.executable).parent / "cfn-lint", TEMPLATE], capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_the_template_holds_the_scripts_the_unit_and_the_policy_as_they_are():
    subprocess.run([sys.executable, AWS / "embed.py", "--check"], check=True)


def test_the_template_is_small_enough_to_be_sent_by_itself():
    assert TEMPLATE.stat().st_size <= 51_200  # CloudFormation quotas, "Template body"


@pytest.mark.parametrize("name", presets.names())
def test_each_request_of_a_preset_goes_to_the_backend_and_all_others_to_the_frontends(api, name):
    stack = Stack(api, name)
    for route in presets.load(name).filled({}).route:
        for example in route.matches:
            if route.kind == "query":
                key, _, value = route.query.partition("=")
                where = {"query": {key: value.replace("*", "x")}}
            else:
                where = {route.kind: example}
            assert stack.answering(**where) == "BackendTargets", (route.pattern, where)
    for path in ("/", "/index.php", "/2026/11/a-post/", "/replicator-ready"):
        assert stack.answering(path=path) == "FrontendTargets"
    assert stack.answering(cookie="visited=1", query={"s": "wp-admin"}) == "FrontendTargets"
    rules = api.elb.describe_rules(ListenerArn=stack.listener(443)["ListenerArn"])["Rules"]
    for condition in (c for rule in rules for c in rule["Conditions"]):
        (values,) = [v["Values"] for k, v in condition.items() if k.endswith("Config")]
        assert 0 < len(values) <= 5


def test_plain_http_is_redirected_where_there_is_a_certificate(api):
    (action,) = Stack(api).listener(80)["DefaultActions"]
    assert action["Type"] == "redirect"
    assert action["RedirectConfig"]["Protocol"] == "HTTPS"


def test_defaults_of_the_template_are_the_routes_of_wordpress(text):
    given = cloudformation_parameters(presets.load("wordpress").filled({}))
    assert {name: text["Parameters"][name]["Default"] for name in given} == given
    assert tuple(text["Parameters"]["Preset"]["AllowedValues"]) == presets.names()


def test_discovery_with_the_configuration_of_the_backend_sees_exactly_the_frontends(api, tmp_path):
    stack = Stack(api, FrontendsWanted=3)
    backend = stack.resources["Backend"]
    api.register(stack.resources["BackendTargets"], backend)  # moto leaves out Targets
    script = tmp_path / "user-data"
    script.write_text(stack.user_data(backend))
    config = tmp_path / "replicator.toml"
    config.write_text(_configuration(script))
    settings = load(config)
    assert settings.tree[0].source == "/var/www/html"
    assert settings.tree[0].exclude == presets.load("wordpress").excludes
    assert settings.discovery.target_groups == (stack.outputs["FrontendTargetGroup"],)
    assert settings.ssh.host_keys == "console"
    assert not settings.base.url

    config.write_text(config.read_text().replace("[ssh]", f'endpoint_url = "{api.url}"\n\n[ssh]'))
    try:
        seen = CliRunner().invoke(commands, ["discover", "--json", "--config", str(config)], standalone_mode=False)  # fmt: skip
    finally:
        structlog.reset_defaults()  # the command sets up the log of this process
    rows = [r for p in json.loads(seen.output)["providers"] for r in p["sightings"]]
    (group,) = api.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])[
        "AutoScalingGroups"
    ]
    members = {row["InstanceId"] for row in group["Instances"]}
    assert len(members) == 3
    assert {row["instance_id"] for row in rows} == members
    assert all(row["decision"] == "serve" for row in rows)
    assert backend not in members


def test_a_bucket_is_written_into_the_configuration_of_the_backend(api, tmp_path):
    stack = Stack(api, BaseBucket="shop-base")
    script = tmp_path / "user-data"
    script.write_text(stack.user_data(stack.resources["Backend"]))
    config = tmp_path / "replicator.toml"
    config.write_text(_configuration(script))
    settings = load(config).base
    assert (settings.place, settings.region) == (("shop-base", "replicator/"), REGION)


def _configuration(script):
    """What the backend writes as replicator.toml: the script is sourced without what changes the machine."""
    lines = script.read_text().splitlines(keepends=True)
    unit = next(n for n, line in enumerate(lines) if line.startswith("cat >/etc/systemd"))
    end = next(n for n, line in enumerate(lines) if line.rstrip() == "UNIT")
    plain = script.with_suffix(".sh")
    plain.write_text("".join(lines[:unit] + lines[end + 1 :]))
    command = ["bash", "-c", f"source {plain}; configuration"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_no_frontend_is_started_before_the_backends_key_is_known(api):
    stack = Stack(api, BackendPublicKey="")
    (group,) = api.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[GROUP])[
        "AutoScalingGroups"
    ]
    assert group["DesiredCapacity"] == group["MinSize"] == 0
    assert "BackendPublicKey" in stack.outputs["NextStep"]


def test_frontends_are_given_the_backends_key_and_address(api):
    stack = Stack(api)
    (found,) = api.ec2.describe_launch_template_versions(
        LaunchTemplateId=stack.resources["FrontendTemplate"]
    )["LaunchTemplateVersions"]
    data = base64.b64decode(found["LaunchTemplateData"]["UserData"]).decode()
    backend = api.ec2.describe_instances(InstanceIds=[stack.resources["Backend"]])
    address = backend["Reservations"][0]["Instances"][0]["PrivateIpAddress"]
    assert data.startswith("#!/bin/bash\n")
    assert f"\nBACKEND='{address}'\n" in data
    assert f"\nPUBLIC_KEY='{KEY}'\n" in data
    assert "\nCACHE_HOST='redis.example.com'\n" in data
    assert "\nFILE_SYSTEM=''\n" in data
    assert len(data) <= 16_384
    assert len(stack.user_data(stack.resources["Backend"])) <= 16_384


def test_the_role_has_exactly_the_permissions_of_the_documented_policy(api, text):
    stack = Stack(api, BaseBucket="shop-base")
    iam = boto3.session.Session("testing", "testing", region_name=REGION).client("iam", endpoint_url=api.url)  # fmt: skip
    made = iam.get_role_policy(RoleName=stack.resources["BackendRole"], PolicyName="replicator")
    documented = (PROJECT / "docs/iam-policy.json").read_text().replace("NAME-OF-THE-GROUP", GROUP).replace("NAME-OF-THE-BUCKET", "shop-base")  # fmt: skip
    given = made["PolicyDocument"]
    # moto keeps a document from a template as the text of a Python dictionary.
    given = ast.literal_eval(given) if isinstance(given, str) else given
    assert given == json.loads(documented)
    role = text["Resources"]["BackendRole"]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert len(role["Policies"]) == 1
    assert "IamInstanceProfile" not in text["Resources"]["FrontendTemplate"]["Properties"]["LaunchTemplateData"]  # fmt: skip


def test_the_launch_hook_is_inside_the_group_and_health_checks_terminate_nobody(text):
    resources = text["Resources"]
    group = resources["Frontends"]["Properties"]
    (hook,) = group["LifecycleHookSpecificationList"]["Fn::If"][1]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert hook["DefaultResult"] == "ABANDON"
    assert "AWS::AutoScaling::LifecycleHook" not in {one["Type"] for one in resources.values()}
    assert group["HealthCheckType"] == "EC2"
    assert group["TargetGroupARNs"] == [{"Ref": "FrontendTargets"}]


def test_redis_is_made_unless_one_is_named_and_only_servers_reach_it(text):
    resources = text["Resources"]
    cache = resources["Cache"]
    assert cache["Type"] == "AWS::ElastiCache::ReplicationGroup"
    assert cache["Condition"] == "MakesCache"
    assert text["Conditions"]["MakesCache"] == {"Fn::Equals": [{"Ref": "CacheHost"}, ""]}
    assert cache["Properties"]["AutomaticFailoverEnabled"] is True
    rules = resources["CacheSecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert {r["SourceSecurityGroupId"]["Fn::GetAtt"][0] for r in rules} == {
        "BackendSecurityGroup",
        "FrontendSecurityGroup",
    }


def test_only_the_load_balancer_is_open_to_everybody(text):
    for name, resource in text["Resources"].items():
        if resource["Type"] != "AWS::EC2::SecurityGroup":
            continue
        for rule in resource["Properties"]["SecurityGroupIngress"]:
            assert ("CidrIp" in rule) == (name == "LoadBalancerSecurityGroup"), (name, rule)


def test_the_backend_and_its_disk_outlive_the_stack(text):
    backend = text["Resources"]["Backend"]
    assert backend["DeletionPolicy"] == backend["UpdateReplacePolicy"] == "Retain"
    (disk,) = backend["Properties"]["BlockDeviceMappings"]
    assert disk["Ebs"]["DeleteOnTermination"] is False


def test_backend_and_frontends_have_the_same_php_settings():
    def settings(script):
        command = f"CACHE_HOST=redis; source {script}; php_settings"
        return subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout  # fmt: skip

    backend, frontend = map(settings, SCRIPTS)
    assert backend == frontend
    assert 'session.save_path = "tcp://redis:6379?timeout=1&read_timeout=2"' in backend


def test_the_backends_key_may_run_the_pinned_agent_and_nothing_else():
    script = AWS / "user-data/frontend.sh"
    agent = "/opt/replicator/bin/replicator agent --root /var/www/html --owner root:www-data"
    command = f"BACKEND=10.0.0.5 PUBLIC_KEY='{KEY}'; source {script}; authorized_key '{agent}'; sudoers_line '{agent}'"
    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    key, sudoers = done.stdout.splitlines()
    assert key == f'restrict,from="10.0.0.5",command="sudo -n {agent}" {KEY}'
    assert sudoers == f"deploy ALL=(root) NOPASSWD: {agent.replace(':', chr(92) + ':')}"
