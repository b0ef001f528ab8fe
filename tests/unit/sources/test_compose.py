"""Compose files → drafts: each key, and what can't be honoured with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infrastructure.sources import compose_file
from infrastructure.sources.compose_service import Reading, Unset
from tests.unit.sources.reading import FILE, compose, web


def test_a_service_in_universal_words() -> None:
    read = web(
        'command: sh -c "echo $$HOME"',
        "environment: {PORT: 8000, DEBUG: true, RATE: 1.50, EMPTY: ''}",
        'ports: ["127.0.0.1:8080:80", "9000-9001:9000-9001/udp", 7000:70]',
        "expose: [6000]",
        "mem_limit: 1.5g",
        "cpus: 0.25",
        "scale: 3",
    )
    spec = read.spec()
    del spec["native"]
    assert spec == {
        "image": "shop:1",
        "command": ["sh", "-c", "echo $HOME"],
        "env": {"PORT": "8000", "DEBUG": "true", "RATE": "1.5", "EMPTY": ""},
        "ports": [
            "127.0.0.1:8080:80",
            "9000:9000/udp",
            "9001:9001/udp",
            "7000:70",
            "6000",
        ],
        "resources": {"memory": 1536 * 2**20, "cpu": "0.25"},
        "replicas": 3,
    }


def test_containers_are_known_by_composes_labels() -> None:
    draft = compose("services: {My_Web: {image: a}}").drafts["My_Web"]
    assert draft.name == "my-web"
    assert draft.labels == {"com.docker.compose.project": "shop"}
    assert draft.spec["native"]["Labels"] == {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "My_Web",
        "com.docker.compose.oneoff": "False",
    }


HOST: list[tuple[str, dict[str, Any]]] = [
    ("restart: no", {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}),
    ("restart: on-failure:5", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}}),
    (
        "deploy: {restart_policy: {condition: any, max_attempts: 2}}",
        {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}},
    ),
    ("cap_add: [NET_ADMIN]", {"CapAdd": ["NET_ADMIN"]}),
    ("dns: 9.9.9.9", {"Dns": ["9.9.9.9"]}),
    ("dns: [9.9.9.9, 1.1.1.1]", {"Dns": ["9.9.9.9", "1.1.1.1"]}),
    ("privileged: true", {"Privileged": True}),
    ('read_only: "yes"', {"ReadonlyRootfs": True}),
    ("init: false", {"Init": False}),
    ("shm_size: 64m", {"ShmSize": 64 * 2**20}),
    ("pids_limit: 100", {"PidsLimit": 100}),
    ("sysctls: {net.core.somaxconn: 1024}", {"Sysctls": {"net.core.somaxconn": "1024"}}),
    ("sysctls: [net.core.somaxconn=1024]", {"Sysctls": {"net.core.somaxconn": "1024"}}),
    ("pid: host", {"PidMode": "host"}),
    ("security_opt: [no-new-privileges]", {"SecurityOpt": ["no-new-privileges"]}),
    ("tmpfs: /run", {"Tmpfs": {"/run": ""}}),
    ("tmpfs: ['/run:size=1m', /tmp]", {"Tmpfs": {"/run": "size=1m", "/tmp": ""}}),
    (
        "ulimits: {nproc: 64, nofile: {soft: 1, hard: 2}}",
        {
            "Ulimits": [
                {"Name": "nofile", "Hard": 2, "Soft": 1},
                {"Name": "nproc", "Hard": 64, "Soft": 64},
            ]
        },
    ),
    (
        "devices: ['/dev/a:/dev/b:r', /dev/c]",
        {
            "Devices": [
                {"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"},
                {"PathOnHost": "/dev/c", "PathInContainer": "/dev/c", "CgroupPermissions": "rwm"},
            ]
        },
    ),
    (
        "gpus: all",
        {
            "DeviceRequests": [
                {
                    "Driver": "",
                    "Count": -1,
                    "DeviceIDs": None,
                    "Capabilities": [["gpu"]],
                    "Options": {},
                }
            ]
        },
    ),
    ("extra_hosts: {db: 10.0.0.1}", {"ExtraHosts": ["db:10.0.0.1"]}),
    ("extra_hosts: ['db=10.0.0.1', 'v6:[::1]']", {"ExtraHosts": ["db:10.0.0.1", "v6:::1"]}),
    (
        "logging: {driver: json-file, options: {max-file: 3}}",
        {"LogConfig": {"Type": "json-file", "Config": {"max-file": "3"}}},
    ),
    ("mem_limit: 64m\n    memswap_limit: 96m", {"Memory": 64 * 2**20, "MemorySwap": 96 * 2**20}),
    (
        "deploy: {resources: {limits: {pids: 9}, reservations: {memory: 1m}}}",
        {"PidsLimit": 9, "MemoryReservation": 2**20},
    ),
    ("volumes: ['/a:/b']", {"Binds": ["/a:/b:rw"]}),
    ("volumes: ['./a/../c:/b/:ro,z']", {"Binds": ["/srv/shop/c:/b:ro,z"]}),
    (
        "volumes: [{type: bind, source: ../x, target: /b, read_only: true}]",
        {"Binds": ["/srv/x:/b:ro"]},
    ),
    (
        "volumes: [{type: bind, source: /x, target: /b, bind: {create_host_path: false}}]",
        {"Mounts": [{"Type": "bind", "Source": "/x", "Target": "/b"}]},
    ),
    (
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m}}]",
        {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 2**20}}]},
    ),
    ("ports: ['80']", {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}}),
    (
        "ports: ['[::1]:8080:80/sctp']",
        {"PortBindings": {"80/sctp": [{"HostIp": "::1", "HostPort": "8080"}]}},
    ),
    (
        "ports: [{target: 80, published: '8000-8010', host_ip: 127.0.0.1}]",
        {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000-8010"}]}},
    ),
]


@pytest.mark.parametrize(("line", "host"), HOST)
def test_what_has_no_universal_word_is_the_engines_own_field(
    line: str, host: dict[str, Any]
) -> None:
    assert web(line).host() == host


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("entrypoint: a 'b c'", "Entrypoint", ["a", "b c"]),
        ("user: 1000:1000", "User", "1000:1000"),
        ("working_dir: /x", "WorkingDir", "/x"),
        ("stop_grace_period: 1m30s", "StopTimeout", 90),
        ("tty: true", "Tty", True),
        ("volumes: [/anonymous]", "Volumes", {"/anonymous": {}}),
        ("healthcheck: {disable: true}", "Healthcheck", {"Test": ["NONE"]}),
        (
            "healthcheck: {test: curl -f http://x, interval: 1m, timeout: 500ms, retries: 3}",
            "Healthcheck",
            {
                "Test": ["CMD-SHELL", "curl -f http://x"],
                "Interval": 60 * 10**9,
                "Timeout": 5 * 10**8,
                "Retries": 3,
            },
        ),
    ],
)
def test_what_belongs_to_the_container_itself(line: str, key: str, value: Any) -> None:
    assert web(line).spec()["native"][key] == value


def test_networks_by_name_priority_and_alias() -> None:
    read = compose(
        """
services:
  web:
    image: a
    networks: {b: {}, a: {aliases: [shop], ipv4_address: 10.0.0.9}, z: {priority: 5}}
  alone: {image: a}
  host: {image: a, network_mode: host}
networks: {a: {name: real}, b: {external: true}, z: }
"""
    )
    native = read.spec()["native"]
    assert native["HostConfig"]["NetworkMode"] == "shop_z"
    assert native["NetworkingConfig"]["EndpointsConfig"] == {
        "real": {"Aliases": ["web", "shop"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}},
        "b": {"Aliases": ["web"]},
        "shop_z": {"Aliases": ["web"]},
    }
    assert read.spec("alone")["native"]["HostConfig"]["NetworkMode"] == "shop_default"
    assert read.spec("host")["native"]["HostConfig"] == {"NetworkMode": "host"}
    assert "NetworkingConfig" not in read.spec("host")["native"]


def test_volumes_secrets_and_configs_by_name() -> None:
    read = compose(
        """
services:
  web:
    image: a
    volumes: [data:/data, {type: volume, source: named, target: /n, read_only: true}]
    secrets: [key, {source: key, target: other}]
    configs: [{source: conf, target: /etc/conf}]
volumes: {data: , named: {name: real}}
secrets: {key: {file: ./key.txt}}
configs: {conf: {file: /etc/x}}
"""
    )
    assert read.host()["Binds"] == [
        "shop_data:/data:rw",
        "real:/n:ro",
        "/srv/shop/key.txt:/run/secrets/key:ro",
        "/srv/shop/key.txt:/run/secrets/other:ro",
        "/etc/x:/etc/conf:ro",
    ]


def test_environment_files_and_their_order() -> None:
    read = web(
        "env_file: [a.env, {path: b.env, required: false}, {path: none.env, required: false}]",
        "environment: [C=own, PASSED]",
        files={
            "shop/.env": "PASSED=from-env\nX=x\n",
            "shop/a.env": "A=a\nB=a\nC=a\n",
            "shop/b.env": "B=${X}\n",
        },
    )
    assert read.spec()["env"] == {"A": "a", "B": "x", "C": "own", "PASSED": "from-env"}


def test_the_process_environment_is_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "9")
    assert compose("services: {web: {image: 'a:${TAG:-1}'}}").spec()["image"] == "a:1"


def test_extends_anchors_and_merges() -> None:
    read = compose(
        """
x-base: &base {restart: always, labels: {a: "1"}}
services:
  base:
    <<: *base
    image: a:1
    environment: [A=base, B=base]
    ports: ["1:1"]
    volumes: ["/one:/data", "/two:/two"]
    deploy: {resources: {limits: {memory: 64m}}}
    command: [run]
  web:
    extends: base
    environment: {B: own}
    ports: ["2:2"]
    volumes: ["/own:/data"]
    deploy: {resources: {limits: {cpus: "1"}}}
    command: [walk]
"""
    )
    spec = read.spec()
    assert spec["env"] == {"A": "base", "B": "own"}
    assert spec["ports"] == ["1:1", "2:2"]
    assert spec["command"] == ["walk"]
    assert spec["resources"] == {"memory": 64 * 2**20, "cpu": "1"}
    assert read.host()["Binds"] == ["/two:/two:rw", "/own:/data:rw"]
    assert spec["native"]["Labels"]["a"] == "1"


def test_extends_of_a_file_in_another_folder() -> None:
    read = compose(
        "services: {web: {extends: {file: ../base/c.yml, service: b}, image: own}}",
        files={
            "base/c.yml": "services: {b: {image: x, volumes: ['./d:/d'], env_file: e.env}}",
            "base/e.env": "FROM=base\n",
        },
    )
    assert read.spec()["env"] == {"FROM": "base"}
    assert read.host()["Binds"] == ["/srv/base/d:/d:rw"]


def test_extends_unites_lists_and_names() -> None:
    read = compose(
        """
services:
  base:
    image: a
    tmpfs: /one
    dns: 1.1.1.1
    networks: [a]
    depends_on: [db]
    cap_add: [A]
    healthcheck: {test: [CMD, one], retries: 2}
    logging: {options: {max-size: 1m}}
  web:
    extends: {service: base}
    tmpfs: [/two]
    dns: [9.9.9.9]
    networks: {b: {aliases: [x]}}
    depends_on: {cache: {condition: service_healthy}}
    cap_add: [A, B]
    healthcheck: {test: [CMD, two]}
    logging: {options: {max-file: "2"}}
    volumes: [{type: volume, target: /anonymous}]
  db: {image: a}
  cache: {image: a}
networks: {a: , b: }
"""
    )
    spec, host = read.spec(), read.host()
    assert host["Tmpfs"] == {"/one": "", "/two": ""}
    assert host["Dns"] == ["1.1.1.1", "9.9.9.9"]
    assert host["CapAdd"] == ["A", "B"]
    assert host["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "2"}
    assert spec["dependsOn"] == ["db", "cache"]
    assert spec["native"]["Healthcheck"] == {"Test": ["CMD", "two"], "Retries": 2}
    assert spec["native"]["Volumes"] == {"/anonymous": {}}
    endpoints = spec["native"]["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"shop_a": {"Aliases": ["web"]}, "shop_b": {"Aliases": ["web", "x"]}}


def test_secrets_that_are_no_files_are_refused_and_their_owner_is_listed() -> None:
    text = "services: {web: {image: a, secrets: [{source: s, mode: 256}]}}\nsecrets: {s: %s}\n"
    (error,) = compose(text % "{environment: X}").errors
    assert "secrets s is no file" in error
    read = compose(text % "{file: /s}")
    assert read.errors == []
    assert "uid, gid and mode of secrets s" in read.warnings[0]


def test_dependencies_in_both_forms_and_links() -> None:
    text = "services: {web: {image: a, depends_on: [db], links: [cache]}, db: {image: b}, "
    assert compose(text + "cache: {image: c}}").spec()["dependsOn"] == ["db", "cache"]
    text = "services: {web: {image: a, depends_on: {db: {condition: service_healthy}}},"
    assert compose(text + " db: {image: b}}").spec()["dependsOn"] == ["db"]


def test_profiles_that_are_not_active_are_left_out_and_said_so() -> None:
    text = "services: {web: {image: a}, debug: {image: b, profiles: [dev]}}"
    read = compose(text)
    assert set(read.drafts) == {"web"}
    assert "debug is left out: its profile (dev) is not active" in read.warnings[0]
    read = compose(text, files={"shop/.env": "COMPOSE_PROFILES=dev,other\n"})
    assert set(read.drafts) == {"web", "debug"}


@pytest.mark.parametrize(
    ("files", "project", "name"),
    [({}, "given", "given"), ({"shop/.env": "COMPOSE_PROJECT_NAME=env\n"}, "given", "env")],
)
def test_where_the_project_name_comes_from(files: dict[str, str], project: str, name: str) -> None:
    read = web(files=files, project=project)
    assert read.drafts["web"].labels["com.docker.compose.project"] == name
    read = compose("name: own\nservices: {web: {image: a}}", files=files, project=project)
    assert read.drafts["web"].labels["com.docker.compose.project"] == "own"


def test_a_value_of_somebodys_shell_is_a_secret_only_for_an_import() -> None:
    line = "environment: {A: '${A}', B: , C: x}"
    assert [e.split(": ")[0] for e in web(line).errors] == [f"{FILE}:4:22", f"{FILE}:4:33"]
    given = Reading(given=lambda _name: frozenset({"A", "B"}))
    assert web(line, reading=given).spec()["env"] == {"C": "x"}
    imported = web(line, reading=Reading(unset=Unset.SECRET))
    assert imported.spec()["env"] == {
        "A": {"secret": "env:A"},
        "B": {"secret": "env:B"},
        "C": "x",
    }


WARNED = [
    ("build: .", "images are not built"),
    ("platform: linux/arm64", "platform"),
    ("pull_policy: always", "pulled"),
    ("container_name: other", "called web"),
    ("deploy: {placement: {constraints: [a]}}", "nothing to place"),
    ("deploy: {update_config: {parallelism: 1}}", "update_config"),
    ("deploy: {resources: {reservations: {cpus: '1'}}}", "no Swarm"),
    ("deploy: {restart_policy: {condition: any, delay: 5s}}", "delay"),
]


@pytest.mark.parametrize(("line", "said"), WARNED)
def test_what_is_not_done_is_listed_with_its_line(line: str, said: str) -> None:
    read = web(line)
    assert read.errors == []
    assert len(read.warnings) == 1
    assert read.warnings[0].startswith(f"{FILE}:4:")
    assert said in read.warnings[0]


REFUSED = [
    ("imag: x", "services.web.imag is not a known field (did you mean image?)"),
    ("privileged: maybe", "privileged of web can't be read (write true or false)"),
    ("mem_limit: lots", "can't be read (write a size"),
    ("ports: ['80:a']", "ports of web can't be read"),
    ("ports: ['8000-8002:80-81']", "same length"),
    ("ports: ['70000:80']", "ports go from 1 to 65535"),
    ("restart: sometimes", "restart is one of"),
    ("network_mode: service:db", "network_mode of web can't be honoured"),
    ("networks: [nowhere]", "the file declares no network nowhere"),
    ("volumes: [nowhere:/x]", "the file declares no volume nowhere"),
    ("volumes: ['~/x:/x']", "whose home"),
    ("volumes: ['/x:x']", "no absolute path"),
    ("volumes: ['/x:/x:what']", "unknown option what"),
    ("volumes_from: [db]", "volumes_from of web can't be honoured"),
    ("pid: service:db", "pid of web can't be read"),
    ("depends_on: [nobody]", "web depends on nobody, which is not there"),
    ("volumes: [{type: volume, source: d, target: /d, volume: {subpath: x}}]", "subpath"),
    ("volumes: [{type: image, source: a, target: /d}]", "volumes of type image"),
    ("volumes: [{type: bind, source: /d, target: /d, bind: {recursive: disabled}}]", "recursive"),
    ("links: ['web:other']", "the link web:other of web can't be honoured"),
    ("secrets: [nothing]", "secrets nothing"),
    ("command: []", "an empty command of web"),
    ('command: "a \'b"', "command of web can't be read"),
    ("env_file: none.env", "there is no file shop/none.env"),
    ("env_file: ../../x.env", "outside of the repository"),
    ("blkio_config: {weight: 1}", "blkio_config of web can't be honoured"),
    ("post_start: [{command: x}]", "hooks are not run"),
    ("mac_address: 02:42:ac:11:65:43", "mac_address of web"),
    ("security_opt: ['seccomp=./x.json']", "seccomp"),
    ("healthcheck: {interval: soon, test: x}", "write a duration"),
    ("extends: web", "web extends itself"),
    ("extends: {service: x, file: ../../y.yml}", "outside of the repository"),
    ("extends: {service: x, file: y.yml}", "there is no file shop/y.yml"),
    ("extends: wep", "has no service wep (did you mean web?)"),
    ("hostname: '${UNSET}'", "the variable UNSET has no value"),
    ("hostname: '${UNSET:?say it}'", "UNSET has to be set: say it"),
    ("environment: {A: '${A'}", "closing brace"),
    ("environment: {A: 'x${A}'}", "the variable A has no value"),
    ("deploy: {mode: global}", "needs Swarm"),
    ("memswap_limit: 1g", "it needs mem_limit beside it"),
    ("tty: [a]", "services.web.tty must be of type"),
    ("ports: [{target: 80, moda: x}]", "services.web.ports[0].moda is not a known field"),
    ("networks: {default: {mac_address: 'x'}}", "mac_address of web can't be honoured"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED)
def test_what_can_not_be_honoured_is_an_error_with_its_line(line: str, said: str) -> None:
    errors = web(line).errors
    assert len(errors) == 1, errors
    assert errors[0].startswith(f"{FILE}:4:")
    assert said in errors[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one document"),
        ("- a", "one document"),
        ("services: {web: {image: a}}\n---\na: 1", "one document"),
        ("services: [a]", "services must be of type object"),
        ("services: {a b: {image: x}}", "services.a b is not a known field"),
        ("include: [x.yml]\nservices: {web: {image: a}}", "include is not followed"),
        ("services: {web: {build: .}}", "web names no image"),
        ("services: {web: {image: 'a:${TAG}'}}", "the variable TAG has no value"),
        ("services: {web: !x {image: a}}", "tag"),
        ("services: {a_b: {image: x}, a.-b: {image: x}, a-b: {image: x}}", "both called"),
        ("services: {web: {image: a}}\nname: 'No Name'", "is no project name"),
    ],
)
def test_files_that_are_no_right_compose_files(text: str, said: str) -> None:
    read = compose(text)
    assert any(said in error for error in read.errors), read.errors
    assert all(error.startswith(FILE) for error in read.errors)


def test_relative_paths_need_to_know_the_projects_folder() -> None:
    (error,) = web("volumes: ['./x:/x']", directory=None).errors
    assert "spec.directory of the Source" in error


def test_a_project_without_any_name_is_refused() -> None:
    (error,) = web(project=None).errors
    assert "the project has no name" in error


def test_a_value_knows_its_line_also_when_it_was_extended() -> None:
    read = compose(
        "services:\n  web:\n    extends: {file: b.yml, service: b}\n    image: a\n",
        files={"shop/b.yml": "services:\n  b:\n    mem_limit: lots\n"},
    )
    assert read.errors[0].startswith("shop/b.yml:3:16: mem_limit of web can't be read")


SCHEMA = Path(compose_file.__file__).with_name("compose-spec.schema.json")
KEYS = sorted(json.loads(SCHEMA.read_text())["$defs"]["service"]["properties"])
ODD = [
    *("", "x", "1", "-1", "1:2:3:4", "[]", "{}", "[1]", "[x, y]", "{a: b}", "{a: }", "{a: [b]}"),
    *("true", "1.5", "1e400", "~", "[{a: b}]", "{source: x}", "[{type: bind}]", "[{source: a}]"),
    *("'${A:-b}'", "['a:b:c', 'a=b']", "{driver: x}", "{a: {soft: 1}}", "{file: a, service: b}"),
    *("[{target: 80}]", "[{path: x}]", "{test: [CMD]}", "{a: {condition: service_healthy}}"),
    *("{resources: {limits: {cpus: x, memory: y}}}", "{replicas: x}", "{restart_policy: {}}"),
]


@pytest.mark.parametrize("key", KEYS)
def test_nothing_that_stands_under_a_key_breaks_the_reader(key: str) -> None:
    for odd in ODD:
        read = web(f"{key}: {odd}" if key != "image" else f"x-image: {odd}")
        assert all(error.startswith((FILE, "shop/")) for error in read.errors), (key, odd)


def test_a_thousand_services_are_read_in_time() -> None:
    services = "".join(
        f"  s{n}: {{image: 'a:1', environment: {{A: '{n}'}}, ports: ['{n + 2000}:80']}}\n"
        for n in range(1000)
    )
    assert len(compose(f"services:\n{services}").drafts) == 1000


# ── texts that grow ─────────────────────────────────────────────────────────────

LONG = "y" * 9_000


def test_variables_can_not_blow_a_short_file_up() -> None:
    """Each text is within bounds; all of them together would take gigabytes."""
    words = "".join("      - $A\n" for _ in range(5_000))
    read = compose(
        f"services:\n  web:\n    image: i:1\n    command:\n{words}",
        files={"shop/.env": f"A={LONG}\n"},
    )
    (error,) = read.errors
    assert error.startswith("shop/compose.yml:16:9: variables fill the project's files up to more")
    assert "services.web.command[11]" in error


def test_environments_share_the_budget_and_say_so_once() -> None:
    """Values of `environment` are filled in service by service."""
    text = 'x-env: &env {A: "$A"}\nservices:\n' + "".join(
        f"  web{n}: {{image: 'i:1', environment: *env}}\n" for n in range(50)
    )
    read = compose(text, files={"shop/.env": f"A={LONG}\n"})
    (error,) = [e for e in read.errors if "variables fill" in e]
    assert error.startswith("shop/compose.yml:13:3: ")
    assert read.findings.broken


def test_an_environment_file_that_everybody_names_is_read_once_and_counted() -> None:
    text = "services:\n" + "".join(
        f"  web{n}: {{image: 'i:1', env_file: all.env}}\n" for n in range(400)
    )
    variables = "".join(f"A{n}={'v' * 80}\n" for n in range(100))
    few = compose("\n".join(text.splitlines()[:60]) + "\n", files={"shop/all.env": variables})
    assert few.errors == []
    assert len(few.drafts) == 59
    (error,) = compose(text, files={"shop/all.env": variables}).errors
    assert "up to more than 1600000 characters" in error


def test_aliases_can_not_repeat_a_long_text_for_ever() -> None:
    text = f"x-a: &a '{LONG}'\nservices:\n  web:\n    image: i:1\n    command:\n"
    (error,) = compose(text + "      - *a\n" * 2_000).errors
    assert error.startswith("shop/compose.yml:117:9: aliases repeat more than 1000000 characters")
    assert compose(text + "      - *a\n" * 20).errors == []
