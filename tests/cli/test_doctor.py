"""`seed doctor`."""

from __future__ import annotations

import json

import torch
from typer.testing import CliRunner

from seedcli import __version__
from seedcli.cli.main import app
from seedcli.recipe.files import shipped_recipes


def test_doctor_reports_what_a_bug_report_needs() -> None:
    result = CliRunner().invoke(
        app, ["doctor", "--json"], env={"HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "1"}
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["seed"] == __version__
    assert report["torch"]["build"] == torch.__version__
    assert report["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert report["machine"]["cores"] >= report["machine"]["usable_cores"] >= 1
    assert report["bundled"]["recipes"] == len(shipped_recipes())
    assert report["environment"]["HF_HUB_OFFLINE"] == "1"
    assert "hf_secret" not in result.stdout
