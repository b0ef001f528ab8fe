"""Kind Source in desired state: read, laid over, judged by the rules for Services."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.command_line.folder_tree import FolderTree
from flows.command_line.validation import validate
from infrastructure.config_loader import (
    DEFAULT_DIRECTORY,
    UniversalConfig,
    UniversalConfigLoader,
    agent_identity,
)
from infrastructure.desired_state import DesiredStateParser, StateRead
from infrastructure.service import Mode, SecretRef, Service
from infrastructure.sources.tree import FilesTree, resolved

COMPOSE = """\
services:
  web:
    image: shop:1
    ports: ["8080:80"]
    depends_on: [db]
  db: {image: "db:1"}
"""
SOURCE = """\
apiVersion: uici/v1
kind: Source
metadata: {name: shop}
spec:
  compose: shop/compose.yml
  environment: local-docker
"""


@pytest.fixture(scope="module")
def config() -> UniversalConfig:
    return UniversalConfigLoader(DEFAULT_DIRECTORY).load()


@pytest.fixture
def parser(config: UniversalConfig) -> DesiredStateParser:
    return DesiredStateParser.from_config(config, agent_identity(config))


def read(
    parser: DesiredStateParser, source: str = SOURCE, compose: str = COMPOSE, **more: str
) -> StateRead:
    files = {"shop.yml": source, "shop/compose.yml": compose}
    files |= {name.replace("__", "/"): text for name, text in more.items()}
    encoded = {path: text.encode() for path, text in files.items()}
    return parser.read(encoded, FilesTree(encoded))


def service(found: StateRead, name: str) -> Service:
    assert found.problems == ()
    return found.services[f"local-docker/{name}"]


def test_services_of_a_compose_file_are_services(parser: DesiredStateParser) -> None:
    found = read(parser)
    assert set(found.services) == {"local-docker/web", "local-docker/db"}
    assert service(found, "web").dependencies == ("local-docker/db",)
    # The folder's name is the project's, as compose has it.
    assert service(found, "web").metadata.labels == {"com.docker.compose.project": "shop"}


def test_what_the_document_says_of_all_and_of_one(parser: DesiredStateParser) -> None:
    found = read(
        parser,
        SOURCE
        + """\
  services:
    "*":
      remediation: {mode: observe}
      ignoreDifferences: [/replicas]
    web:
      remediation: {mode: enforce}
      dependsOn: [db]
      ignoreDifferences: [/image]
      env: {KEY: {secret: "env:KEY"}}
      alerts: [{matchers: {service: web}}]
      suspend: {reason: move}
      health:
        http: {port: 80, path: /health, timeout: 3s}
        metrics: [{name: up, query: up, expect: "== 1", for: 30s}]
""",
    )
    web, db = service(found, "web").spec, service(found, "db").spec
    assert (web.remediation.mode, db.remediation.mode) == (Mode.ENFORCE, Mode.OBSERVE)
    assert web.ignore_differences == ("/replicas", "/image")
    assert web.depends_on == ("db",)
    assert web.env == {"KEY": SecretRef(secret="env:KEY")}
    assert web.health.http is not None
    assert web.health.http.timeout == timedelta(seconds=3)
    assert web.health.metrics[0].name == "up"
    assert web.suspend is not None


def test_services_beside_a_source_may_depend_on_its_services(parser: DesiredStateParser) -> None:
    other = (
        "apiVersion: uici/v1\nkind: Service\nmetadata: {name: top, environment: local-docker}\n"
        "spec: {image: a, dependsOn: [web]}\n"
    )
    found = read(parser, **{"top.yml": other})
    assert found.problems == ()
    assert len(found.services) == 3


@pytest.mark.parametrize(
    ("source", "place", "said"),
    [
        (SOURCE.replace("compose:", "composed:"), "shop.yml:5:3", "did you mean compose?"),
        (SOURCE + "  kubernetes: k8s\n", "shop.yml:5:3", "either compose: FILE or kubernetes"),
        (
            SOURCE.replace("compose: shop/compose.yml", "project: x"),
            "shop.yml:5:3",
            "either compose",
        ),
        (SOURCE.replace("shop/compose.yml", "shop/none.yml"), "shop.yml:5:12", "no file"),
        (SOURCE.replace("shop/compose.yml", "../compose.yml"), "shop.yml:5:12", "outside"),
        (SOURCE.replace("shop/compose.yml", "/etc/passwd"), "shop.yml:5:12", "outside"),
        (SOURCE.replace("local-docker", "nowhere"), "shop/compose.yml:", "environments.yml"),
        (SOURCE + "  services: {wep: {}}\n", "shop.yml:7:14", "did you mean web?"),
        (SOURCE + "  services: {web: {image: x}}\n", "shop.yml:7:20", "image"),
        (
            SOURCE + "  services: {web: {ignoreDifferences: [/imag]}}\n",
            "shop.yml:7:40",
            "never compared",
        ),
        (
            SOURCE + "  services: {web: {dependsOn: [nobody]}}\n",
            "shop.yml:7:32",
            "depends on nobody",
        ),
        (
            SOURCE + '  services: {web: {env: {KEY: "hunter2hunter2"}}}\n',
            "shop.yml:7:",
            "",
        ),
    ],
)
def test_mistakes_of_the_document_are_told_at_its_lines(
    parser: DesiredStateParser, source: str, place: str, said: str
) -> None:
    found = read(parser, source)
    assert found.problems
    text = "\n".join(str(problem) for problem in found.problems)
    assert place in text
    assert said in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("compose", "place", "said"),
    [
        (COMPOSE.replace("8080:80", "8080:x"), "shop/compose.yml:4:12", "ports of web"),
        (COMPOSE + "  w: {image: devops-ai-agent}\n", "shop/compose.yml:7:14", "the agent's"),
        (COMPOSE + "  devops-ai-agent: {image: a}\n", "shop/compose.yml:7:3", "is the agent"),
        (
            COMPOSE.replace("db:1", "db:1").replace(
                "{image:", "{environment: {DB_PASSWORD: hunter2}, image:"
            ),
            "shop/compose.yml:6:35",
            "give it in the Source",
        ),
        (
            COMPOSE + "  w: {image: b, depends_on: [x]}\n  x: {image: b, depends_on: [w]}\n",
            "shop/compose.yml:8:",
            "circle",
        ),
        (COMPOSE + "  w: {image: b, ports: ['8080:1']}\n", "shop/compose.yml:7:", "already taken"),
        (COMPOSE + "  w: {image: b, labels: {token: abcdef1234}}\n", "shop/compose.yml:7:", ""),
        (COMPOSE + "  w: [\n", "shop/compose.yml:", "not valid YAML"),
    ],
)
def test_mistakes_of_the_compose_file_are_told_at_its_lines(
    parser: DesiredStateParser, compose: str, place: str, said: str
) -> None:
    found = read(parser, compose=compose)
    text = "\n".join(str(problem) for problem in found.problems)
    assert place in text
    assert said in text
    assert "hunter2" not in text


def test_a_secret_of_the_file_is_right_once_the_source_gives_it(
    parser: DesiredStateParser,
) -> None:
    compose = COMPOSE.replace("{image:", "{environment: {DB_PASSWORD: hunter2}, image:")
    given = SOURCE + '  services: {db: {env: {DB_PASSWORD: {secret: "env:DB"}}}}\n'
    assert service(read(parser, given, compose), "db").spec.env == {
        "DB_PASSWORD": SecretRef(secret="env:DB")
    }


def test_what_is_not_done_is_a_remark_and_no_mistake(parser: DesiredStateParser) -> None:
    found = read(parser, compose=COMPOSE.replace("    ports", "    build: .\n    ports"))
    assert found.problems == ()
    told = [str(remark) for remark in found.remarks]
    assert any("compose.yml:4:12: build of web" in sentence for sentence in told)
    assert any("the network shop_default is not made by UICI" in sentence for sentence in told)


def test_a_folder_of_an_executor_that_the_format_is_not_for(
    config: UniversalConfig, parser: DesiredStateParser
) -> None:
    assert config.environments.environments["local-docker"].executor == "docker"
    source = SOURCE.replace("compose: shop/compose.yml", "kubernetes: shop")
    (problem,) = read(parser, source).problems
    assert str(problem).startswith("shop.yml:6:16: local-docker is run by docker")


def test_the_same_name_twice_is_told_with_both_places(parser: DesiredStateParser) -> None:
    found = read(parser, **{"again.yml": SOURCE})
    assert any("is declared twice" in str(problem) for problem in found.problems)


def test_a_compose_file_without_a_source_is_told_as_before(parser: DesiredStateParser) -> None:
    (problem,) = parser.read({"c.yml": COMPOSE.encode()}, FilesTree({})).problems
    assert "the document has no kind" in str(problem)


@pytest.mark.parametrize(
    ("path", "beside", "found"),
    [
        ("a.yml", "x/s.yml", "x/a.yml"),
        ("../a.yml", "x/s.yml", "a.yml"),
        ("../../a.yml", "x/s.yml", None),
        ("/a.yml", "s.yml", None),
        ("~/a.yml", "s.yml", None),
        ("./", "x/s.yml", "x"),
        (".", "s.yml", ""),
        ("a/../../b", "s.yml", None),
        ("a\0b", "s.yml", None),
    ],
)
def test_a_path_stays_in_the_tree(path: str, beside: str, found: str | None) -> None:
    assert resolved(path, beside=beside) == found


def test_validate_reads_what_lies_beside_the_folder_in_its_repository(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "compose.yml").write_text("name: shop\n" + COMPOSE.replace("8080:80", "x:y"))
    (state / "shop.yml").write_text(SOURCE.replace("shop/compose.yml", "../compose.yml"))
    (problem,) = validate(state, None).problems
    assert str(problem).startswith("../compose.yml:5:12: ports of web")


def test_the_example_of_the_documentation_is_valid() -> None:
    checked = validate(Path(__file__).parents[3] / "docs/how-to/source-example", None)
    assert checked.problems == ()
    assert checked.services == 2


def test_a_link_does_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "secret.yml").write_text("a: b")
    folder = tmp_path / "state"
    (folder / "real").mkdir(parents=True)
    (folder / "link.yml").symlink_to(tmp_path / "secret.yml")
    (folder / "up").symlink_to(tmp_path)
    (folder / "real/a.yml").write_text("x")
    tree = FolderTree(folder, max_bytes=1000)
    assert tree.read("link.yml") is None
    assert tree.read("up/secret.yml") is None
    assert tree.read("real/a.yml") == b"x"
    assert tree.below("") == ["real/a.yml"]
