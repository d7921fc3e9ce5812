"""The configuration: every mistake is named by its TOML path, and dangerous values are refused."""

import pytest

from replicator.config import load, parse, parse_address, parse_rate
from replicator.errors import ConfigError

TREE = '[[tree]]\nsource = "/srv/a"\n'


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "replicator.toml"
        path.write_text(text)
        return path

    return written


def test_defaults_are_filled_in_and_relative_paths_belong_to_the_file(write, tmp_path):
    config = load(
        write('[[tree]]\nsource = "site"\n[ssh]\nidentity = "key"\n[state]\ndirectory = "state"\n')
    )

    assert config.tree[0].source == config.tree[0].target == str(tmp_path / "site")
    assert config.tree[0].delete
    assert config.ssh.identity == str(tmp_path / "key")
    assert config.state.directory == str(tmp_path / "state")
    assert config.discovery.frontends == ()
    assert config.bootstrap.concurrency == 2


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "config"),
        ("tree = []", "tree"),
        ("".join(f'[[tree]]\nsource = "/srv/t{n}"\n' for n in range(512)), "tree"),
        ("[[tree]]\n", "tree[0]"),
        (TREE + 'tarrget = "/x"\n', "tree[0]"),
        (TREE + "delete = 'true'\n", "tree[0].delete"),
        (TREE + 'target = "/"\n', "tree[0].target"),
        (TREE + 'target = "//"\n', "tree[0].target"),
        (TREE + 'target = "."\n', "tree[0].target"),
        (TREE + 'target = "~"\n', "tree[0].target"),
        (TREE + 'target = ""\n', "tree[0].target"),
        (TREE + 'target = "  "\n', "tree[0].target"),
        (TREE + 'target = "www/upload"\n', "tree[0].target"),
        (TREE + 'target = "/srv/../etc"\n', "tree[0].target"),
        (TREE + 'target = "/srv/./.."\n', "tree[0].target"),
        (TREE + 'owner = "www data"\n', "tree[0].owner"),
        (TREE + "delete_guard = 0\n", "tree[0].delete_guard"),
        (TREE + "delete_guard = 1.5\n", "tree[0].delete_guard"),
        (TREE + "delete_guard = nan\n", "tree[0].delete_guard"),
        ('[[tree]]\nsource = "/"\ntarget = "/x"\n', "tree[0].source"),
        ('[[tree]]\nsource = ""\ntarget = "/x"\n', "tree[0].source"),
        (TREE + '[[tree]]\nsource = "/srv/a/b"\n', "tree[1].source"),
        (TREE + '[[tree]]\nsource = "/srv/b"\ntarget = "/srv/a"\n', "tree[1].target"),
        (TREE + '[state]\ndirectory = "/srv/a/state"\n', "state.directory"),
        (TREE + '[bootstrap]\nbandwidth = "fast"\n', "bootstrap.bandwidth"),
        (TREE + '[base]\nurl = "https://bucket/prefix"\n', "base.url"),
        (TREE + '[base]\nurl = "s3://Bucket/prefix"\n', "base.url"),
        (TREE + '[base]\nurl = "s3://bucket/a/../b"\n', "base.url"),
        (TREE + '[base]\nurl = "s3://bucket//a"\n', "base.url"),
        (TREE + '[base]\nurl = "s3://key:secret@bucket/a"\n', "base.url"),
        (TREE + '[base]\nbucket = "bucket"\n', "base"),
        (TREE + '[base]\nregion = "eu-central-1"\n', "base.region"),
        (TREE + '[base]\nurl = "s3://bucket"\nendpoint = "store:8333"\n', "base.endpoint"),
        (TREE + '[base]\nurl = "s3://bucket"\nendpoint = "http://a:b@store"\n', "base.endpoint"),
        (TREE + '[base]\nurl = "s3://bucket"\nbandwidth = "fast"\n', "base.bandwidth"),
        (TREE + '[base]\nurl = "s3://bucket"\ninterval = 0\n', "base.interval"),
        (TREE + "[bootstrap]\nconcurrency = 0\n", "bootstrap.concurrency"),
        (TREE + "[ssh]\nport = 70000\n", "ssh.port"),
        (TREE + "[ssh]\nop_timeout = -1\n", "ssh.op_timeout"),
        (TREE + "[ssh]\nciphers = []\n", "ssh.ciphers"),
        (TREE + '[ssh]\nciphers = ["aes256-ctr", "none"]\n', "ssh.ciphers[1]"),
        (TREE + '[ssh]\nciphers = ["3des-cbc"]\n', "ssh.ciphers[0]"),
        (TREE + '[discovery]\nprovider = "carrier pigeon"\n', "discovery.provider"),
        (TREE + '[discovery]\nfrontends = ["-oProxyCommand=x"]\n', "discovery.frontends[0]"),
        (
            TREE + '[discovery]\nprovider = "dns"\nname = ["web", "web:99999"]\n',
            "discovery.name[1]",
        ),
        (TREE + "[bootstrap\n", "replicator.toml"),
        (TREE + "x = " + "[" * 9000, "replicator.toml"),
        (TREE + "x = " + "1" * 9000, "replicator.toml"),
        (TREE + '[bootstrap]\nbandwidth = "1k\u0131"\n', "bootstrap.bandwidth"),
        (TREE + f'[bootstrap]\nbandwidth = "{"9" * 400}"\n', "bootstrap.bandwidth"),
        (TREE + '[state]\ndirectory = ""\n', "state.directory"),
        (TREE + '[state]\ndirectory = "/a\\u0000b"\n', "state.directory"),
        (TREE + '[ssh]\nidentity = "~nobody-at-all/key"\n', "ssh.identity"),
        ('[[tree]]\nsource = "~nobody-at-all"\n', "tree[0].source"),
        ('[[tree]]\nsource = "/a\\u0000b"\ntarget = "/a"\n', "tree[0].source"),
    ],
)
def test_a_mistake_is_named_by_its_path(write, text, where):
    with pytest.raises(ConfigError) as error:
        load(write(text))

    assert where in error.value.where
    assert error.value.exit_code == 2


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("setting", ["ssh.keepalive", "discovery.interval", "retry.cap"])
def test_a_number_that_is_not_finite_is_called_so(write, setting, value):
    section, key = setting.split(".")
    with pytest.raises(ConfigError, match=f"{setting}: must be a finite number, got {value}"):
        load(write(TREE + f"[{section}]\n{key} = {value}\n"))


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        load(tmp_path / "nothing.toml")


def test_rates():
    assert parse_rate("x", "40MiB/s") == 40 * 2**20
    assert parse_rate("x", "1.5 GB") == 1.5e9
    assert parse_rate("x", "100") == 100


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.1.11", ("", "10.0.1.11", 0)),
        ("deploy@10.0.1.12:2222", ("deploy", "10.0.1.12", 2222)),
        ("web.internal", ("", "web.internal", 0)),
        ("2001:db8::5", ("", "2001:db8::5", 0)),
        ("root@[2001:db8::5]:22", ("root", "2001:db8::5", 22)),
        ("fe80::1%eth0", ("", "fe80::1%eth0", 0)),
        ("deploy@fe80::1%br-lan.100", ("deploy", "fe80::1%br-lan.100", 0)),
        ("[fe80::1%wlp0s20f3]", ("", "fe80::1%wlp0s20f3", 0)),
        ("root@[fe80::1%2]:2222", ("root", "fe80::1%2", 2222)),
    ],
)
def test_addresses(text, parts):
    assert parse_address("x", text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[.]:1",
        "[12]",
        "a b",
        "a:0",
        "a:65536",
        "-x",
        "a@-x",
        "@a",
        "a\n",
        "fe80::1%",
        "[fe80::1%]:22",
        "fe80::1%-x",
        "fe80::1%a b",
        "[fe80::1%a%b]",
        "10.0.0.1%eth0",
        "web%eth0",
        "fe80::1%sixteen-letters-x",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match="expected 'host'"):
        parse_address("x", text)


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"provider": "alb"}, "discovery.target_groups"),
        ({"provider": "autoscaling"}, "discovery.auto_scaling_groups"),
        ({"provider": "dns"}, "discovery.name"),
        ({"provider": "file"}, "discovery.path"),
        ({"provider": "unknown"}, "discovery.provider"),
        ({"target_groups": ["web"]}, "discovery.target_groups"),
        ({"provider": "alb", "target_groups": ["web"], "path": "x"}, "discovery.path"),
        ({"provider": "dns", "name": "web", "region": "eu-west-1"}, "discovery.region"),
        ({"interval": -1}, "discovery.interval"),
        ({"give_up": 0}, "discovery.give_up"),
        ({"access_key": "AKIA"}, "discovery"),
    ],
)
def test_a_provider_needs_its_own_keys_and_no_others(tmp_path, table, where):
    raw = {"tree": [{"source": str(tmp_path)}], "discovery": table}
    with pytest.raises(ConfigError) as caught:
        parse(raw, base=tmp_path)
    assert caught.value.where == where


def test_one_group_may_be_written_as_a_text(tmp_path):
    discovery = {"provider": "alb", "target_groups": "web", "load_balancer": ["a", "b"]}
    config = parse({"tree": [{"source": str(tmp_path)}], "discovery": discovery}, base=tmp_path)
    assert config.discovery.target_groups == "web"
    assert config.discovery.load_balancer == ("a", "b")


def test_the_console_needs_a_provider_that_knows_instances(tmp_path):
    raw = {"tree": [{"source": str(tmp_path)}], "ssh": {"host_keys": "console"}}
    with pytest.raises(ConfigError, match=r"ssh\.host_keys.*alb or autoscaling"):
        parse(raw, base=tmp_path)


@pytest.mark.parametrize("path", ["/ready", "../ready", "a//b", ".", "a/.replicator-x.tmp", "a\0b"])
def test_a_ready_file_is_a_plain_path_below_the_target(tmp_path, path):
    raw = {"tree": [{"source": str(tmp_path), "ready_file": path}]}
    with pytest.raises(ConfigError) as caught:
        parse(raw, base=tmp_path)
    assert caught.value.where == "tree[0].ready_file"


@pytest.mark.parametrize(
    "provider", ['"alb"\ntarget_groups = "web"', '"autoscaling"\nauto_scaling_groups = "web"']
)
def test_a_provider_that_needs_boto3_is_refused_without_it(write, monkeypatch, provider):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"discovery\.provider: .* needs boto3, .* extra `aws`"):
        load(write(f"{TREE}[discovery]\nprovider = {provider}\n"))


def test_other_providers_need_no_boto3(write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    load(write(f'{TREE}[discovery]\nprovider = "dns"\nname = "web"\n'))


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "replicator.toml"
    file.write_bytes(b"\xef\xbb\xbf" + f'[[tree]]\nsource = "{tmp_path}"\n'.encode())
    assert load(file).tree[0].source == str(tmp_path)


@pytest.mark.parametrize(
    "listen",
    [
        "127.0.0.1:9440",
        "localhost:9440",
        "[::1]:9440",
        "127.8.8.8:1",
        "/run/replicator/http.sock",
        "",
    ],
)
def test_http_listens_on_loopback_or_a_socket(write, listen):
    assert load(write(TREE + f'[http]\nlisten = "{listen}"\n')).http.listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:9440", "[::]:9440", "10.0.0.1:80", "192.0.2.1:9440"])
def test_http_is_open_to_other_machines_only_if_it_is_configured(write, listen):
    with pytest.raises(
        ConfigError, match=r"http\.listen: other machines can reach .* http\.remote = true"
    ):
        load(write(TREE + f'[http]\nlisten = "{listen}"\n'))
    assert load(write(TREE + f'[http]\nlisten = "{listen}"\nremote = true\n')).http.remote


@pytest.mark.parametrize(
    "listen",
    [
        "9440",
        ":9440",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:70000",
        "example.com:80",
        "http.sock",
        "/" + "x" * 107,
    ],
)
def test_http_listen_must_be_an_address_with_a_port_or_a_path(write, listen):
    with pytest.raises(
        ConfigError, match=r"http\.listen: (expected an IP address with a port|is too long)"
    ):
        load(write(TREE + f'[http]\nlisten = "{listen}"\n'))


def test_http_without_its_libraries_is_refused_with_one_sentence(write, monkeypatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "aiohttp" else name
    )
    with pytest.raises(
        ConfigError, match=r"http\.listen: needs aiohttp, which is not installed: .* extra `http`"
    ):
        load(write(TREE + '[http]\nlisten = "127.0.0.1:9440"\n'))
    load(write(TREE))


@pytest.mark.parametrize(
    ("hook", "where"),
    [
        ({"event": "delivered", "command": []}, "hook[0].command"),
        ({"event": "delivered", "command": ["relative"]}, "hook[0].command"),
        ({"event": "delivered", "command": ["/bin/true", "a\0b"]}, "hook[0].command"),
        ({"event": "uploaded", "command": ["/bin/true"]}, "hook[0].event"),
        ({"event": "delivered", "command": ["/bin/true"], "timeout": 0}, "hook[0].timeout"),
        ({"event": "delivered", "command": ["/bin/true"], "batch": -1}, "hook[0].batch"),
        (
            {"event": "delivered", "command": ["/bin/true"], "timeout": float("inf")},
            "hook[0].timeout",
        ),
    ],
)
def test_a_wrong_hook_is_refused(tmp_path, hook, where):
    with pytest.raises(ConfigError) as caught:
        parse({"tree": [{"source": "site"}], "hook": [hook]}, base=tmp_path)
    assert caught.value.where == where


@pytest.mark.parametrize("path", ["/etc/stamp", "../stamp", "ready"])
def test_a_wrong_stamp_file_is_refused(tmp_path, path):
    tree = {"source": "site", "ready_file": "ready", "stamp_file": path}
    with pytest.raises(ConfigError) as caught:
        parse({"tree": [tree]}, base=tmp_path)
    assert caught.value.where == "tree[0].stamp_file"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/replicator", ("bucket", "replicator/")),
        ("s3://my.bucket-1/a/b/", ("my.bucket-1", "a/b/")),
    ],
)
def test_the_url_of_a_base_is_a_bucket_and_a_prefix(write, url, place):
    assert load(write(TREE + f'[base]\nurl = "{url}"\n')).base.place == place


def test_a_base_without_boto3_is_refused(write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs boto3"):
        load(write(TREE + '[base]\nurl = "s3://bucket/a"\n'))


def test_the_bandwidth_is_a_rate_of_at_least_a_kilobyte_per_second(tmp_path):
    def ssh(bandwidth):
        raw = {"tree": [{"source": "site"}], "ssh": {"bandwidth": bandwidth}}
        return parse(raw, base=tmp_path).ssh.bytes_per_second

    assert (ssh(""), ssh("2MiB/s"), ssh("1kB/s")) == (None, 2 << 20, 1000)
    for wrong in ("999B/s", "fast", "0", "-1MB/s"):
        with pytest.raises(ConfigError, match=r"ssh\.bandwidth"):
            ssh(wrong)
