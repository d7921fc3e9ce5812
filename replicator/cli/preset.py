"""`replicator preset`: print the presets of a CMS, and configuration made from them."""

from __future__ import annotations

import click

from replicator import presets


@click.group(short_help="Show the preset of a CMS.")
def preset() -> None:
    """Show the preset of a CMS: requests that only the backend may answer, exclude patterns, settings."""


@preset.command("list", short_help="Print the name of each preset.")
def list_presets() -> None:
    """Print the name of each preset, and how many of its rows were tested."""
    for name in presets.names():
        one = presets.load(name)
        rows = [*one.route, *one.exclude, *one.writable, *one.setting]
        tested = sum(bool(row.tested) for row in rows)
        click.echo(f"{name:<12} {one.title} {one.release}: {tested} of {len(rows)} rows tested")


@preset.command()
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(presets.FORMATS)),
    default="text",
    show_default=True,
    help="toml: a [[tree]]; nginx: maps for router and frontends; cloudformation: parameters of deploy/aws/template.yaml.",
)
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="Set a parameter, such as admin=manager.")  # fmt: skip
@click.option("--source", default="/var/www/html", show_default=True, help="Directory of the CMS on the backend.")  # fmt: skip
def show(name: str, form: str, values: tuple[str, ...], source: str) -> None:
    """Print one preset."""
    given = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"expected NAME=VALUE, got {text!r}", param_hint="--set")
        given[key] = value
    filled = presets.load(name).filled(given)
    click.echo(presets.render(filled, form, name=name, source=source), nl=False)
