"""What `deploy/local/up` can start beside the default. Minutes each: asked for with REPLICATOR_LOCAL_ALL=1."""

import html
import json
import os
import re
import urllib.parse

import pytest

from tests.support.local import Local
from tests.support.waiting import wait_for
from tests.support.web import picture

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not os.environ.get("REPLICATOR_LOCAL_ALL"),
        reason="asked for with REPLICATOR_LOCAL_ALL=1, because each takes minutes",
    ),
]

VISITS = "<?php session_start(); echo $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;"


@pytest.fixture
def make(engine, tmp_path):
    made = []

    def make(**settings):
        site = Local(tmp_path, engine, **settings)
        made.append(site)
        print(site.up())
        return site

    yield make
    for site in made:
        site.call("down", "--volumes", check=False)


def test_an_application_of_ones_own_is_served_and_replicated(make, tmp_path_factory):
    app = tmp_path_factory.mktemp("app")
    (app / "index.php").write_text("<?php echo 'one';")
    (app / "visits.php").write_text(VISITS)
    site = make(APP=str(app), FRONTENDS="2")
    assert {site.visitor().ask("/").text for _ in range(4)} == {"one"}
    new = app / "index.new"
    new.write_text("<?php echo 'two';")
    new.replace(app / "index.php")
    for name, visitor in site.alone().items():
        wait_for(lambda v=visitor: v.ask("/").text == "two", f"the new page on {name}")
    visitor = site.visitor()
    assert [visitor.ask("/visits.php").text for _ in range(4)] == ["1", "2", "3", "4"]
    assert app.is_dir()
    assert site.call("down", "--volumes") is not None
    assert (app / "index.php").exists()


def test_sessions_in_files_stay_on_the_frontend_that_made_them(make):
    site = make(SESSION="files")
    site.put("visits.php", VISITS)
    first, second = site.alone().values()
    for visitor in (first, second):
        wait_for(lambda v=visitor: site.visitor().at(v.address).ask("/visits.php").status == 200, "visits.php")  # fmt: skip
    first.cookies = second.cookies = {}
    assert [first.ask("/visits.php").text for _ in range(2)] == ["1", "2"]
    site.signal("frontend-1", "kill")
    assert second.ask("/visits.php").text == "1"


def test_a_shared_volume_stands_in_for_efs(make):
    site = make(EFS="1")
    site.put("now.txt", "here")
    for visitor in site.alone().values():
        assert visitor.ask("/now.txt").text == "here"
        assert visitor.ask("/").status == 200
        assert visitor.ask("/wp-admin/").status == 403
    site.call("status")
    site.signal("frontend-2", "kill")
    site.signal("redis", "kill")
    assert "not in service: redis, 1 of 2 frontends" in site.fails("status")
    site.signal("router", "kill")
    assert "not in service: router, redis, frontend-1, 1 of 2 frontends" in site.fails("status")


def test_up_again_keeps_the_site_and_refuses_another_one(make):
    site = make()
    site.put("kept.txt", "kept")
    password = site.password
    site.call("down")
    site.up()
    assert site.visitor().ask("/kept.txt").text == "kept"
    assert site.password == password
    assert "another site" in site.fails("up", CMS="mediawiki")


def hidden(form):
    """The hidden fields of a form, which a browser sends along."""
    tags = re.findall(r'<input[^>]*\btype="hidden"[^>]*>', form)
    fields = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in tags]
    return {field["name"]: html.unescape(field.get("value", "")) for field in fields}


def test_mediawiki_installs_itself_shares_uploads_and_answers_while_redis_hangs(make):
    site = make(CMS="mediawiki")
    editor = site.visitor()
    page = editor.ask("/index.php?title=Special:UserLogin").text
    form = hidden(page[page.index('name="userlogin"') : page.index('id="searchform"')])
    form |= {"wpName": "admin", "wpPassword": site.password, "wploginattempt": "Log in"}
    answer = editor.post("/wiki/Special:UserLogin", form)
    assert answer.status == 302, answer.text[-500:]
    assert editor.ask("/wiki/Main_Page").server == "backend"

    page = editor.ask("/wiki/Special:Upload")
    assert page.server == "backend"
    form = hidden(page.text[page.text.index('id="mw-upload-form"') :])
    form |= {"wpDestFile": "Noise.png", "wpUpload": "Upload file", "wpIgnoreWarning": "1"}
    answer = editor.upload("/wiki/Special:Upload", form, "wpUploadFile", "Noise.png", picture(640, 480))  # fmt: skip
    assert (answer.status, answer.server) == (302, "backend"), answer.text[-500:]

    query = "titles=File:Noise.png&prop=imageinfo&iiprop=url&iiurlwidth=120"
    answer = editor.ask(f"/api.php?action=query&format=json&{query}")
    (page,) = json.loads(answer.text)["query"]["pages"].values()
    for key in ("url", "thumburl"):
        path = urllib.parse.urlsplit(page["imageinfo"][0][key]).path
        for name, visitor in site.alone().items():
            wait_for(lambda v=visitor, p=path: v.ask(p).status == 200, f"{path} on {name}")
            assert visitor.ask(path).headers["Content-Type"] == "image/png"
    for name, visitor in site.alone().items():
        assert visitor.ask("/wiki/Main_Page").server == name
        for refused in ("/wiki/Special:Upload", "/api.php", "/index.php?title=Special:Upload", "/index.php/Special:Upload"):  # fmt: skip
            assert visitor.ask(refused).status == 403
    site.signal("redis", "pause")
    try:
        # With MediaWiki's own class, 40 questions wait 1 s each.
        assert site.visitor().ask("/wiki/Main_Page", timeout=20).status == 200
    finally:
        site.signal("redis", "unpause")
