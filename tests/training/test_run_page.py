"""A run's page for people."""

import json

from PIL import Image

from seedcli.training.run_page import MOST_SHEETS, write_run_page


def test_a_run_that_logged_nothing_has_no_page(tmp_path):
    assert write_run_page(tmp_path) is None and list(tmp_path.iterdir()) == []


def test_curves_and_pictures_of_a_run_are_one_file(tmp_path):
    folder = tmp_path / "codebook"
    (folder / "sheets").mkdir(parents=True)
    lines = [{"step": 1, "loss": 2.0}, {"step": 20, "loss": 1.25, "held_out_mse": 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = {"command": ["/bin/seed", "train-tokenizer", "a&b"], "seedcli": "1", "git_commit": "c0"}
    (tmp_path / "run.json").write_text(json.dumps([start]))  # of the run that this is a phase of
    for step in range(1, 21):
        Image.new("RGB", (60, 20), (10 * step, 0, 0)).save(folder / f"sheets/step-{step:08d}.png")
    page = write_run_page(folder).read_text()
    assert page.count("data:image/webp") == 1 + MOST_SHEETS and 'src="http' not in page
    for words in ("Step 1<", "Step 20<", "12 of 20 sheets", "seed train-tokenizer a&amp;b", "1.25"):
        assert words in page
    assert (folder / "losses.png").is_file()
    # a figure that only an examination says is among the last ones all the same
    assert "held_out_mse" in page
