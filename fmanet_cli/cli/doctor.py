"""`fmanet doctor`: what this machine offers, and what to do where something is missing."""

from __future__ import annotations

import json

import click

from fmanet_cli.cli.terminal import echo, printable, writing


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print every finding as JSON.")
def command(as_json: bool) -> None:
    """Say what this machine offers for a run; each line is ok, or a warning with what to do.

    Nothing is written or downloaded, and the exit code is 0 also with warnings.

    Example: fmanet doctor
    """
    from fmanet_cli.doctor import examine

    if as_json:
        findings = [finding.as_dict() for finding in examine()]
        echo(json.dumps({"ok": all(finding["ok"] for finding in findings), "findings": findings}, indent=1))
        return
    warnings = 0
    for finding in examine():
        warnings += not finding.ok
        mark = click.style("ok     ", fg="green") if finding.ok else click.style("warning", fg="yellow", bold=True)
        with writing(err=False):
            click.echo(f"{mark}  {finding.topic:<9} {printable(finding.text)}")
        if finding.remedy:
            echo(f"{'':19} -> {finding.remedy}")
    echo("everything is in order" if not warnings else f"{warnings} warnings")
