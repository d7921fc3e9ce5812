"""Every panel of the dashboard has data in a real Prometheus that scrapes a running daemon."""

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.support import PROJECT
from tests.support.tools import find, missing
from tests.support.waiting import wait_for
from tests.support.web_client import free_port

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

BOARD = json.loads((PROJECT / "deploy" / "prometheus" / "dashboard.json").read_text())
VARIABLES = {"$instance": ".+", "$__rate_interval": "1m"}
"""What Grafana puts in place of its variables: here for all instances."""


class Prometheus:
    """A server that scrapes one target every second."""

    def __init__(self, directory, target):
        self.url = f"http://127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        scrape = {"job_name": "replicator", "static_configs": [{"targets": [target]}]}
        config.write_text(
            json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
        )
        self.log = (directory / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                find("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def ask(self, path, **query):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is still starting
                return None
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        except (urllib.error.URLError, ConnectionError):
            return None

    def values(self, expression):
        """Return the samples that an expression has now, without those that are no numbers."""
        data = self.ask("query", query=expression)
        return [one for one in data["result"] if one["value"][1] != "NaN"]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture
def prometheus(tmp_path):
    with contextlib.ExitStack() as running:

        def start(target):
            if not find("prometheus"):
                missing("prometheus")
            made = Prometheus(tmp_path, target)
            running.callback(made.stop)
            wait_for(lambda: made.ask("query", query="replicator_up"), "Prometheus")
            wait_for(lambda: made.values("replicator_up"), "the first scrape")
            return made

        yield start


@pytest.fixture
def backend(make, fleet):
    """A daemon with one frontend that refuses a file, and one that lacks it because it is paused."""
    backend = make([fleet.add("board-one", "127.0.0.76"), fleet.add("board-two", "127.0.0.77")])
    backend.tables["http"] = {"listen": f"127.0.0.1:{free_port()}"}
    backend.tree = {"exclude": ["kept"]}
    backend.configure()
    backend.start()
    backend.wait_until_equal()
    (backend.source / "first").write_text(
        "a tree has a histogram of deliveries after the first one"
    )
    backend.wait_until_equal()
    return backend


def happen(backend):
    """Have everything happen of which a panel shows something."""
    one, two = backend.servers
    backend.run("verify")
    assert backend.run("bootstrap", one.address).returncode == 0
    for number in range(20):
        (backend.source / f"f{number}").write_text("content")
    backend.wait_until_equal()
    (backend.copy(one) / "refused").mkdir()
    (backend.copy(one) / "refused" / "kept").write_text(
        "excluded, so that no file can take the directory's place"
    )
    backend.run("pause", two.address)
    (backend.source / "refused").write_text("content")
    wait_for(lambda: backend.row(one)["problems"], backend.explain)


def expression(text):
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, "a variable that Grafana does not know, or this test"
    return text


def test_every_panel_has_data_with_the_labels_of_its_legend(backend, prometheus):
    server = prometheus(backend.tables["http"]["listen"])
    # What happens from now on must be an increase.
    wait_for(lambda: server.values("count_over_time(replicator_up[1m]) >= 2"), "two scrapes")
    happen(backend)
    lacking = {}

    def look():
        lacking.clear()
        for panel in BOARD["panels"]:
            for target in panel["targets"]:
                found = server.values(expression(target["expr"]))
                wanted = set(re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", "")))
                if not found or not all(wanted <= one["metric"].keys() for one in found):
                    lacking[f"{panel['title']}: {target['expr']}"] = found
        return not lacking

    wait_for(look, lambda: json.dumps(lacking, indent=1), pause=0.5)


def test_the_variables_of_the_dashboard_have_values(backend, prometheus):
    server = prometheus(backend.tables["http"]["listen"])
    queries = [one for one in BOARD["templating"]["list"] if one["type"] == "query"]
    assert {f"${one['name']}" for one in queries} <= VARIABLES.keys()
    for one in queries:
        metric, label = re.fullmatch(
            r"label_values\((\w+), (\w+)\)", one["query"]["query"]
        ).groups()
        assert server.ask(f"label/{label}/values", **{"match[]": metric})


def test_panels_do_not_overlap_and_use_the_chosen_data_source():
    cells, source = set(), {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not mine & cells, panel["title"]
        cells |= mine
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
