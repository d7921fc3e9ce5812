"""A real CMS on one machine, scaled out: the scenarios that the documentation promises.

They run in containers of docker, if `.ci/run` can start an engine, and in containers of plain namespaces. `pytest -s` prints the figures.
"""

import base64
import json
import re
import urllib.parse

import pytest

from replicator.presets import load
from tests.support.local import Local
from tests.support.waiting import wait_for
from tests.support.web import Crowd, picture

pytestmark = pytest.mark.timeout(900)

SESSION = """<?php
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
echo $_SESSION['visits'];
"""

LOCK = "ini_set('redis.session.lock_expire', '2');"


@pytest.fixture(scope="module")
def site(engine, tmp_path_factory):
    made = Local(tmp_path_factory.mktemp("local"), engine, CMS="wordpress", FRONTENDS="2")
    try:
        print(made.up())
        made.put("visits.php", SESSION)
        for name, visitor in made.alone().items():
            wait_for(lambda v=visitor: v.ask("/visits.php").status == 200, f"visits.php on {name}")
        yield made
    finally:
        made.call("down", "--volumes", check=False)


@pytest.fixture(scope="module")
def editor(site):
    """A browser that has logged in through the router."""
    visitor = site.visitor()
    visitor.ask("/wp-login.php")
    fields = {"log": "admin", "pwd": site.password, "testcookie": "1", "redirect_to": "/wp-admin/"}
    answer = visitor.post("/wp-login.php", fields)
    assert (answer.status, answer.server) == (302, "backend"), answer.text[-500:]
    return visitor


def everywhere(site, path):
    """Ask each frontend for a path at once until all have it; print their earlier answers, and check that it stays."""
    with Crowd(site.alone().values(), [path], pause=0.002) as crowd:
        servers = set(site.frontends)
        wait_for(lambda: {one.server for one in crowd.seen[-40:] if one.status == 200} == servers, path)  # fmt: skip
    early, late = crowd.statuses(until=0.1), crowd.statuses(since=0.1)
    print(f"{path}: first 100 ms {early}, after {late}")
    arrived = {s: min(one.at for one in crowd.seen if one.server == s and one.status == 200) for s in servers}  # fmt: skip
    assert all(one.status == 200 for one in crowd.seen if one.at > arrived[one.server])


def test_visitors_are_spread_over_the_frontends_and_the_admin_is_sent_to_the_backend(site, editor):
    servers = {site.visitor().ask("/").server for _ in range(8)}
    assert servers == set(site.frontends) == {"frontend-1", "frontend-2"}
    dashboard = editor.ask("/wp-admin/")
    assert (dashboard.status, dashboard.server) == (200, "backend")
    assert "Dashboard" in dashboard.text
    assert f"http://127.0.0.1:{site.port}/" in dashboard.text


@pytest.mark.both_engines
def test_a_frontend_serves_no_admin_page_even_when_it_is_asked_directly(site, editor):
    paths = [path for route in load("wordpress").filled({}).route if route.path for path in route.matches]  # fmt: skip
    paths += ["/?" + "rest_route=/wp/v2/media"]
    odd = [
        "//wp-admin/",
        "/%77p-admin/",
        "/./wp-admin/",
        "/wp-content/../wp-admin/",
        "/wp-login%2ephp",
    ]
    for path in paths:
        assert site.visitor().ask(path).server == "backend", path
    for name, visitor in site.alone().items():
        visitor.cookies.update(editor.cookies)
        for path in paths + odd:
            answer = visitor.ask(path)
            assert (answer.status, answer.server) == (403, name), path


@pytest.mark.both_engines
def test_an_upload_on_the_admin_page_is_on_every_frontend(site, editor):
    form = editor.ask("/wp-admin/media-new.php?browser-uploader").text
    nonce = re.search(r'name="_wpnonce" value="(\w+)"', form)[1]
    fields = {"_wpnonce": nonce, "post_id": "0", "html-upload": "Upload"}
    answer = editor.upload("/wp-admin/media-new.php", fields, "async-upload", "page.png", picture())
    assert (answer.status, answer.server) == (302, "backend"), answer.text[-500:]
    found = json.loads(editor.ask("/wp-json/wp/v2/media?search=page").text)
    for size in found[0]["media_details"]["sizes"].values():
        everywhere(site, urllib.parse.urlsplit(size["source_url"]).path)


def test_an_upload_by_rest_is_on_every_frontend(site, editor):
    nonce = editor.ask("/wp-admin/admin-ajax.php?action=rest-nonce").text
    headers = {"X-WP-Nonce": nonce, "Content-Type": "image/png"}
    headers["Content-Disposition"] = 'attachment; filename="rest.png"'
    answer = editor.ask("/wp-json/wp/v2/media", "POST", picture(), headers)
    assert (answer.status, answer.server) == (201, "backend"), answer.text[-500:]
    everywhere(site, urllib.parse.urlsplit(json.loads(answer.text)["source_url"]).path)


@pytest.fixture(scope="module")
def program(site):
    """The headers of a program that logs in with an application password, and so has no cookie."""
    made = site.php(
        "require '/var/www/html/wp-load.php'; $admin = get_user_by('login', 'admin');"
        "echo WP_Application_Passwords::create_new_application_password($admin->ID, ['name' => 'app'])[0];"
    )
    login = base64.b64encode(f"admin:{made}".encode()).decode()
    return {"Authorization": f"Basic {login}", "Content-Type": "image/png"}


def upload(visitor, path, headers, name):
    named = {"Content-Disposition": f'attachment; filename="{name}"'}
    return visitor.ask(path, "POST", picture(40, 40), headers | named)


@pytest.mark.parametrize(
    "path",
    [
        "/wp-json/wp/v2/media",
        "/wp%2Djson/wp/v2/media",
        "/index.php/wp-json/wp/v2/media",
        "/?rest_route=/wp/v2/media",
    ],
)
def test_an_upload_of_a_program_without_a_cookie_goes_to_the_backend(site, program, path):
    answer = upload(site.visitor(), path, program, "program.png")
    assert (answer.status, answer.server) == (201, "backend"), answer.text[-500:]
    everywhere(site, urllib.parse.urlsplit(json.loads(answer.text)["source_url"]).path)


@pytest.mark.parametrize("query", ["rest%5Froute=/wp/v2/media", "rest.route=/wp/v2/media"])
def test_an_upload_that_passes_the_rules_fails_on_a_frontend_and_leaves_nothing(site, program, query):  # fmt: skip
    answer = upload(site.visitor(), f"/?{query}", program, "lost.png")
    assert (answer.status, answer.server[:9]) == (500, "frontend-"), answer.text[-500:]
    assert "could not be moved" in answer.text
    for name in site.frontends:
        assert "lost" not in site.on(name, "find /var/www/html -name 'lost*'")


@pytest.mark.both_engines
def test_a_session_survives_the_loss_of_its_frontend_and_of_redis_for_a_while(site):
    visitor = site.visitor()
    assert [visitor.ask("/visits.php").text for _ in range(4)] == ["1", "2", "3", "4"]
    site.signal("frontend-2", "kill")
    assert [visitor.ask("/visits.php").text for _ in range(2)] == ["5", "6"]
    site.signal("redis", "kill")
    assert visitor.ask("/").status == 200
    site.signal("redis", "start")
    wait_for(lambda: visitor.ask("/visits.php").text == "7", "the session after Redis is back")
    site.signal("frontend-2", "start")
    wait_for(lambda: len({visitor.ask("/").server for _ in range(4)}) == 2, "two frontends")


def test_a_redis_that_hangs_holds_no_page_for_long(site):
    """`read_timeout` of the session; a page without one does not ask. The lock that the unanswered request leaves behind expires."""
    site.put("hung.php", SESSION.replace("session_start", f"{LOCK}\nsession_start", 1))
    visitor = site.visitor()
    wait_for(lambda: {visitor.ask("/hung.php").status for _ in range(4)} == {200}, "hung.php")
    before = int(visitor.ask("/hung.php").text)
    site.signal("redis", "pause")
    try:
        assert visitor.ask("/").status == 200
        answer = visitor.ask("/hung.php", timeout=20)  # PHP's own would be 60 s
        assert answer.status == 500
    finally:
        site.signal("redis", "unpause")
    assert int(visitor.ask("/hung.php").text) == before + 1


@pytest.mark.both_engines
def test_scaling_from_two_to_five_and_back_loses_no_request(site):
    visitors = [site.visitor() for _ in range(3)]
    paths = ["/", "/wp-includes/css/dashicons.min.css", "/visits.php"]
    with Crowd(visitors, paths, pause=0.02) as crowd:
        site.call("scale", "5")
        wait_for(lambda: len({one.server for one in crowd.seen[-60:]}) == 5, "visitors on all five")
        site.call("scale", "2")
    print(crowd.by_second())
    assert set(crowd.statuses()) == {200}
    assert len(site.frontends) == 2


def test_a_plugin_update_under_visitors_ends_with_the_new_version_everywhere(site):
    site.php(f"$step = 1; {PLUGIN}")
    alone = site.alone()
    for visitor in alone.values():
        wait_for(lambda v=visitor: v.ask("/").headers["X-Greeter"] == "1", "the plugin")
    with Crowd(alone.values(), ["/"], pause=0.02) as crowd:
        site.php(f"$step = 2; {PLUGIN}")
        for visitor in alone.values():
            wait_for(lambda v=visitor: v.ask("/").headers["X-Greeter"] == "2", "its update")
    bad = [one for one in crowd.seen if one.status != 200]
    print(f"update of a plugin: {crowd.statuses()}")
    assert {one.status for one in bad} <= {500, 503}
    for visitor in alone.values():
        assert visitor.ask("/").status == 200


@pytest.mark.both_engines
def test_a_session_in_files_is_lost_with_its_frontend(site):
    """The control: what Redis is for. Its own setting, so that the site need not be restarted (SESSION=files is tried below)."""
    site.put(
        "files.php",
        SESSION.replace(
            "session_start",
            "ini_set('session.save_handler', 'files');\nini_set('session.save_path', '/tmp');\nsession_start",
        ),
    )
    first, second = site.alone().values()
    first.cookies = second.cookies = {}
    for visitor in (first, second):
        wait_for(
            lambda v=visitor: site.visitor().at(v.address).ask("/files.php").status == 200,
            "files.php",
        )
    assert [first.ask("/files.php").text for _ in range(2)] == ["1", "2"]
    site.signal("frontend-1", "kill")
    try:
        assert second.ask("/files.php").text == "1"
    finally:
        site.signal("frontend-1", "start")


def test_up_again_changes_nothing(site):
    def state():
        nodes = ["backend", "redis", "database", "router", *site.frontends]
        boot = [site.on(node, "stat -c %Y /proc/1") for node in nodes]
        files = site.on(
            "backend", "cd /var/www/html && find . -type f -printf '%p %s %T@\\n' | sort"
        )
        return site.nodes, boot, files, site.password, site.visitor().ask("/").text

    before = state()
    site.up()
    assert state() == before


PLUGIN = r"""
error_reporting(0);
require '/var/www/html/wp-load.php';
require ABSPATH . 'wp-admin/includes/admin.php';
require ABSPATH . 'wp-admin/includes/class-wp-upgrader.php';
// A plugin whose files must all be of one release, or it fails.
$zip = new ZipArchive;
$zip->open('/tmp/greeter.zip', ZipArchive::CREATE | ZipArchive::OVERWRITE);
$main = "<?php\n/* Plugin Name: Greeter\n Version: $step */\n"
  . "foreach (range(1, 60) as \$n) if ((require __DIR__ . \"/inc/\$n.php\") !== $step) throw new Exception('mixed');\n"
  . "header('X-Greeter: $step');\n";
$zip->addFromString('greeter/greeter.php', $main);
foreach (range(1, 60) as $n) $zip->addFromString("greeter/inc/$n.php", "<?php return $step;\n");
$zip->close();
$upgrader = new Plugin_Upgrader(new Automatic_Upgrader_Skin);
if ($step === 1) {
  $upgrader->install('/tmp/greeter.zip');
  activate_plugin('greeter/greeter.php');
} else {
  $offer = (object) ['slug' => 'greeter', 'plugin' => 'greeter/greeter.php', 'new_version' => '2', 'package' => '/tmp/greeter.zip'];
  set_site_transient('update_plugins', (object) ['last_checked' => time(), 'checked' => ['greeter/greeter.php' => '1'], 'response' => ['greeter/greeter.php' => $offer]]);
  $upgrader->bulk_upgrade(['greeter/greeter.php']);
}
"""
