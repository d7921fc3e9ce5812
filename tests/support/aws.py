"""AWS APIs over HTTP: moto's server where it implements an operation, otherwise recorded answers."""

import logging
import threading
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


class Cloud:
    """A moto server with a VPC in it; runs until the context ends."""

    def __enter__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        # All moto servers of a process share their state.
        with urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"") as answer:
            assert answer.status == 200
        self.reset()
        return self

    def __exit__(self, *_):
        self._server.stop()

    def reset(self):
        self.elb, self.ec2, self.groups = (
            boto3.session.Session(
                aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION
            ).client(service, endpoint_url=self.url)
            for service in ("elbv2", "ec2", "autoscaling")
        )
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}"
            )["Subnet"]["SubnetId"]
            for n, zone in ((0, "a"), (1, "b"))
        ]

    def target_group(self, name, kind="instance", ip_type="ipv4"):
        made = self.elb.create_target_group(
            Name=name,
            Protocol="HTTP",
            Port=80,
            VpcId=self.vpc,
            TargetType=kind,
            IpAddressType=ip_type,
        )
        return made["TargetGroups"][0]["TargetGroupArn"]

    def load_balancer(self, name, default_group):
        made = self.elb.create_load_balancer(Name=name, Subnets=self.subnets)
        arn = made["LoadBalancers"][0]["LoadBalancerArn"]
        listener = self.elb.create_listener(
            LoadBalancerArn=arn,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": default_group}],
        )
        return arn, listener["Listeners"][0]["ListenerArn"]

    def weighted_rule(self, listener, *groups):
        self.elb.create_rule(
            ListenerArn=listener,
            Priority=10,
            Conditions=[{"Field": "path-pattern", "Values": ["/new/*"]}],
            Actions=[
                {
                    "Type": "forward",
                    "ForwardConfig": {
                        "TargetGroups": [{"TargetGroupArn": g, "Weight": 1} for g in groups]
                    },
                }
            ],
        )

    def instances(self, *addresses):
        """Start an instance for each private address; return the instance ids."""
        return [
            self.ec2.run_instances(
                ImageId="ami-12c6146b",
                MinCount=1,
                MaxCount=1,
                SubnetId=self.subnets[int(address.split(".")[2])],
                PrivateIpAddress=address,
            )["Instances"][0]["InstanceId"]
            for address in addresses
        ]

    def register(self, group, *targets, port=80):
        self.elb.register_targets(
            TargetGroupArn=group, Targets=[{"Id": target, "Port": port} for target in targets]
        )

    def deregister(self, group, *targets):
        self.elb.deregister_targets(
            TargetGroupArn=group, Targets=[{"Id": target} for target in targets]
        )


class Recorded:
    """An endpoint that returns the test's answer for each action, and counts the requests.

    Attributes:
        answers: by action: a body, a pair (status, body), an exception to close the connection, or a function of the request's
            fields that returns one of these.
        asked: number of requests by action.
        requests: pairs (action, fields), in order.
    """

    def __init__(self, **answers):
        self.answers = answers
        self.asked = Counter()
        self.requests = []

    def __enter__(self):
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                fields = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
                status, body = recorded.answer(fields)
                if status is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, fields):
        action = fields["Action"]
        self.asked[action] += 1
        self.requests.append((action, fields))
        found = self.answers.get(action, error("InvalidAction", action))
        if callable(found):
            found = found(fields)
        if found is None:
            return None, b""
        status, body = found if isinstance(found, tuple) else (200, found)
        return status, body.encode()


def error(code, message="", status=400):
    """Return an error of the AWS query protocol."""
    return status, (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>1</RequestId></ErrorResponse>"
    )


def ec2_error(code, message="", status=400):
    """Return an error of EC2, whose format differs from the query protocol's."""
    return status, (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>1</RequestID></Response>"
    )


def _wrapped(action, inner):
    return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def target_groups(*names, kind="ip"):
    members = "".join(
        f"<member><TargetGroupArn>arn:aws:elb:{name}</TargetGroupArn><TargetGroupName>{name}</TargetGroupName>"
        f"<TargetType>{kind}</TargetType></member>"
        for name in names
    )
    return _wrapped("DescribeTargetGroups", f"<TargetGroups>{members}</TargetGroups>")


def health(*targets):
    """Return an answer of DescribeTargetHealth for targets (id, state), (id, state, reason) or (id, state, reason, port)."""
    members = ""
    for identity, state, *more in targets:
        reason = f"<Reason>{more[0]}</Reason>" if more and more[0] else ""
        port = more[1] if len(more) > 1 else 80
        members += (
            f"<member><Target><Id>{identity}</Id><Port>{port}</Port></Target>"
            f"<TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
        )
    inner = f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions>"
    return _wrapped("DescribeTargetHealth", inner)


def instances(*rows, token=""):
    """Return an answer of DescribeInstances for rows (id, state, private address)."""
    items = "".join(
        f"<item><instancesSet><item><instanceId>{identity}</instanceId><instanceState><name>{state}</name></instanceState>"
        + (f"<privateIpAddress>{address}</privateIpAddress>" if address else "")
        + "</item></instancesSet></item>"
        for identity, state, address in rows
    )
    more = f"<nextToken>{token}</nextToken>" if token else ""
    return f"<DescribeInstancesResponse><reservationSet>{items}</reservationSet>{more}</DescribeInstancesResponse>"


def scaling_group(name, *members):
    """Return an answer of DescribeAutoScalingGroups for members (instance id, lifecycle state)."""
    rows = "".join(
        f"<member><InstanceId>{identity}</InstanceId><LifecycleState>{state}</LifecycleState></member>"
        for identity, state in members
    )
    inner = (
        f"<AutoScalingGroups><member><AutoScalingGroupName>{name}</AutoScalingGroupName>"
        f"<Instances>{rows}</Instances></member></AutoScalingGroups>"
    )
    return _wrapped("DescribeAutoScalingGroups", inner)


def hooks(*rows):
    """Return an answer of DescribeLifecycleHooks for rows (name, heartbeat timeout)."""
    members = "".join(
        f"<member><LifecycleHookName>{name}</LifecycleHookName><HeartbeatTimeout>{timeout}</HeartbeatTimeout>"
        "<LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition></member>"
        for name, timeout in rows
    )
    return _wrapped("DescribeLifecycleHooks", f"<LifecycleHooks>{members}</LifecycleHooks>")


def done(action):
    return _wrapped(action, "")


def set_credentials(monkeypatch):
    """Set fake credentials in the environment, so that boto3 uses nothing of this machine."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
