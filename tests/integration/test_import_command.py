"""`uici import` as a person types it: files, exit codes, messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMPOSE = """\
services:
  web:
    image: shop:1
    environment: {API_KEY: hunter2hunter2, PASSED: }
    network_mode: service:db
    depends_on: [db]
  db: {image: "db:1", ports: ["127.0.0.1:5432:5432"]}
"""


def uici(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_compose_file_becomes_valid_files(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("name: shop\n" + COMPOSE)
    done = uici(tmp_path, "import", "compose", "compose.yml", "--output", "state")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["state/web.yml", "state/db.yml"]
    assert "left out: compose.yml:6:19: network_mode of web can't be honoured" in done.stderr
    text = (tmp_path / "state/web.yml").read_text()
    assert "hunter2" not in text + done.stdout + done.stderr
    assert "# - line 6: network_mode of web can't be honoured: service:db" in text
    assert "PASSED: {secret: env:PASSED}" in text
    assert (tmp_path / "state/service.schema.json").exists()
    assert uici(tmp_path, "validate", "state").returncode == 0


def test_what_the_compose_file_names_is_read_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "common.env").write_text("COLOUR=green\n")
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "compose.yml").write_text(
        "services:\n  web: {image: 'shop:1', env_file: ../common.env, volumes: ['data:/data']}\n"
        "volumes: {data: {external: true}}\n"
    )

    done = uici(shop, "import", "compose", "compose.yml", "-o", "state")

    assert done.returncode == 0, done.stderr
    assert "COLOUR: green" in (shop / "state/web.yml").read_text()
    assert "compose.yml:3:" in done.stderr
    assert "the volume data is external: it has to exist" in done.stderr


def test_files_that_exist_stay_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("name: shop\n" + COMPOSE)
    command = ("import", "compose", "compose.yml", "-o", "state")
    assert uici(tmp_path, *command).returncode == 0
    (tmp_path / "state/web.yml").write_text("mine")
    refused = uici(tmp_path, *command)
    assert refused.returncode == 1
    assert "exists already" in refused.stderr
    assert (tmp_path / "state/web.yml").read_text() == "mine"
    assert uici(tmp_path, *command, "--force").returncode == 0
    assert "image: shop:1" in (tmp_path / "state/web.yml").read_text()


def test_json_is_one_document_also_for_mistakes(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE)
    done = uici(tmp_path, "import", "compose", "compose.yml", "-o", "state", "--json")
    told = json.loads(done.stdout)
    assert told["files"] == ["state/web.yml", "state/db.yml"]
    assert any("network_mode" in sentence for sentence in told["leftOut"])
    (tmp_path / "compose.yml").write_text("services: {web: {imag: x}}")
    done = uici(tmp_path, "import", "compose", "compose.yml", "-o", "other", "--json")
    assert done.returncode == 1
    assert "did you mean image?" in json.loads(done.stdout)["errors"][0]
    assert not (tmp_path / "other").exists()


def test_mistakes_are_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("services: [")
    for words, said in (
        (("compose", "none.yml"), "none.yml is no file: name a compose file"),
        (("compose", "bad.yml"), "bad.yml:2:1: not valid YAML"),
        (("kubernetes",), "has 0 kubernetes environments"),
        (("docker", "-e", "nowhere"), "nowhere is no docker environment"),
    ):
        done = uici(tmp_path, "import", *words)
        assert done.returncode == 1
        assert said in done.stderr
        told = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
        assert len(told) == 1, done.stderr
