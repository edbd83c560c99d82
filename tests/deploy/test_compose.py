"""The composition: its services, what they wait for, and every variable it sets."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import dockerfile
from tests.support.processes import ROOT
from tests.support.proxies import DEPLOY

TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
OURS = ("prepare", "web", "worker")
OF_OTHERS = re.compile("PATH|PYTHON|PIP_|MALLOC_")
EXAMPLE = DEPLOY / ".env.example"


@pytest.fixture
def composition() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)
    return found


def example() -> dict[str, str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] != "#")
    return {name: value for name, _, value in pairs}


def test_every_variable_is_a_setting_of_cortex(composition: dict[str, Any]) -> None:
    described = set(
        re.findall(
            r"^\| `([A-Z_]+)`",
            (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"),
            re.M,
        )
    )
    for name in OURS:
        given = set(composition["services"][name]["environment"])
        assert given <= described, given - described
        assert {"DATABASE_URL", "REDIS_URL", "CORTEX_SECRET_KEY"} <= given
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for step in dockerfile.instructions(text):
        if step.name == "ENV":
            names = set(dockerfile.assignments(step.value, {}))
            of_others = {
                name for name in names if re.match("PATH|PYTHON|PIP_|MALLOC", name)
            }
            assert names - of_others <= described


def test_what_is_filled_in_is_what_the_example_names() -> None:
    named = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    assert named == set(example())
    needed = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    assert needed == {"CORTEX_SITE", "CORTEX_SECRET_KEY", "POSTGRES_PASSWORD"}


def test_no_secret_stands_in_the_files() -> None:
    given = example()
    assert given["CORTEX_SECRET_KEY"] == given["POSTGRES_PASSWORD"] == ""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/deploy/.env" in ignored


def test_each_process_is_a_service_of_its_own(composition: dict[str, Any]) -> None:
    services = composition["services"]
    assert set(services) == {*OURS, "postgres", "redis", "caddy"}
    for name in OURS:
        service = services[name]
        assert service["command"] == ["python", "manage.py", name]
        assert service["init"] is service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["data:/data"]
        assert "ports" not in service
    published = [name for name in services if "ports" in services[name]]
    assert published == ["caddy"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            inside = (DEPLOY / source).exists()
            assert source in composition["volumes"] or inside, (name, volume)


def test_everybody_waits_until_the_others_are_well(composition: dict[str, Any]) -> None:
    services = composition["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if other == "prepare":
                assert condition == "service_completed_successfully"
                continue
            assert condition == "service_healthy", (name, other)
            of_the_image = other in {"web"}
            assert of_the_image or services[other]["healthcheck"]["test"][0] == "CMD"
    waits = {name: set(services[name].get("depends_on", ())) for name in services}
    assert waits["prepare"] == {"postgres"}
    assert waits["web"] == waits["worker"] == {"prepare", "redis"}
    assert waits["caddy"] == {"web"}
    assert services["prepare"]["restart"] == "on-failure"
    assert services["prepare"]["healthcheck"] == {"disable": True}
    for name in ("web", "worker"):
        assert services[name]["stop_grace_period"] == "30s"


def test_only_the_proxy_is_believed(composition: dict[str, Any]) -> None:
    services, networks = composition["services"], composition["networks"]
    address = services["caddy"]["networks"]["outside"]["ipv4_address"]
    for name in OURS:
        environment = services[name]["environment"]
        assert environment["CORTEX_TRUSTED_PROXIES"] == address
    (pool,) = networks["outside"]["ipam"]["config"]

    assert ipaddress.ip_address(address) in ipaddress.ip_network(pool["subnet"])
    assert ipaddress.ip_address(address) not in ipaddress.ip_network(pool["ip_range"])
    assert networks["store"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert services[name]["networks"] == ["store"]


def test_paths_of_the_build_exist(composition: dict[str, Any]) -> None:
    build = composition["services"]["web"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
    check = composition["services"]["worker"]["healthcheck"]["test"]
    assert Path(context / check[2]).is_file() and check[3] == "worker"
