"""Kernelspecs of gra: what is in them, and which ones are gra's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from gra_provisioner.errors import ConfigError, GraError
from gra_provisioner.kernelspecs import display_name, install, installed, kernel_json, remove
from gra_provisioner.schema import PRESETS, Profile

REPOSITORY = Path(__file__).parents[2]
PYTHON = "/env/bin/python"


@pytest.fixture
def manager(tmp_path: Path) -> KernelSpecManager:
    """Jupyter's manager of a user who has no kernelspecs, on a machine without any."""
    data = tmp_path / "data"
    return KernelSpecManager(
        data_dir=str(data), kernel_dirs=[str(data / "kernels")], ensure_native_kernel=False
    )


def _write(folder: Path, content: object) -> None:
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(content))


def _content(profile: str = "medium") -> dict[str, Any]:
    return kernel_json(profile, PRESETS.profiles[profile], PYTHON)


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_a_preset_has_the_kernelspec_that_comes_with_the_wheel(name: str) -> None:
    folder = "gra" if name == "small" else f"gra-{name}"
    wheel = json.loads((REPOSITORY / "kernelspecs" / folder / "kernel.json").read_text())

    assert kernel_json(name, PRESETS.profiles[name], "python") == wheel


def test_the_command_is_the_launcher_of_this_very_python() -> None:
    command = [PYTHON, "-m", "gra_provisioner", "kernel", "--profile", "medium"]
    assert _content()["argv"] == [*command, "-f", "{connection_file}"]


@pytest.mark.parametrize(
    ("resources", "language", "text"),
    [
        ({"cpu": "500m", "memory": "1.5Gi"}, "python", "Python 3 · own runner (0.5 CPU, 1.5 GiB)"),
        ({"gpu": 1}, "python", "Python 3 · own runner (2 CPU, 2 GiB, 1 GPU)"),
        ({}, "bash", "Bash · own runner (2 CPU, 2 GiB)"),
        ({}, "R", "R · own runner (2 CPU, 2 GiB)"),
    ],
)
def test_the_display_name_carries_the_size(
    resources: dict[str, Any], language: str, text: str
) -> None:
    profile = Profile.model_validate({"resources": resources})
    assert display_name("own", profile, language) == text


def test_a_kernel_other_than_ipykernel_claims_no_debugger() -> None:
    profile = Profile.model_validate({"kernel_argv": ["bash_kernel", "{connection_file}"]})
    content = kernel_json("bash", profile, PYTHON, language="bash", title="My shell")

    assert "debugger" not in content["metadata"]
    assert content["language"] == "bash"
    assert content["display_name"] == "My shell"


def test_jupyter_finds_an_installed_kernelspec_with_its_logos(manager: KernelSpecManager) -> None:
    folder = install(manager, "My-Kernel", _content())

    spec = manager.get_all_specs()["my-kernel"]
    assert spec["resource_dir"] == str(folder)
    assert spec["spec"]["metadata"]["kernel_provisioner"] == {
        "provisioner_name": "gra",
        "config": {"profile": "medium"},
    }
    logos = {"logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}
    assert logos <= {file.name for file in folder.iterdir()}


def test_logos_are_those_of_an_installed_kernelspec_of_gra(manager: KernelSpecManager) -> None:
    first = install(manager, "first", _content())
    (first / "logo-svg.svg").write_text("<svg>own</svg>")

    second = install(manager, "second", _content())

    assert (second / "logo-svg.svg").read_text() == "<svg>own</svg>"


def test_a_kernelspec_of_gra_is_replaced(manager: KernelSpecManager) -> None:
    install(manager, "own", _content("medium"))
    install(manager, "own", _content("large"))

    (spec,) = installed(manager)
    assert (spec.name, spec.profile) == ("own", "large")


def test_only_kernelspecs_of_gra_are_listed(manager: KernelSpecManager) -> None:
    kernels = Path(manager.data_dir, "kernels")
    _write(kernels / "other", {"argv": ["x"], "display_name": "Other", "language": "x"})
    for number, content in enumerate(
        ([], {"metadata": []}, {"metadata": {"kernel_provisioner": 1}})
    ):
        _write(kernels / f"odd{number}", content)
    (kernels / "broken").mkdir()
    (kernels / "broken" / "kernel.json").write_text("{")
    stanza = {"kernel_provisioner": {"provisioner_name": "gra"}}
    _write(kernels / "default", {"display_name": "D", "language": "python", "metadata": stanza})
    install(manager, "own", _content())

    assert [spec.public() for spec in installed(manager)] == [
        {
            "name": "default",
            "display_name": "D",
            "language": "python",
            "profile": None,
            "resource_dir": str(kernels / "default"),
        },
        {
            "name": "own",
            "display_name": "Python 3 · medium runner (4 CPU, 8 GiB)",
            "language": "python",
            "profile": "medium",
            "resource_dir": str(kernels / "own"),
        },
    ]


def test_a_kernelspec_of_gra_is_removed(manager: KernelSpecManager) -> None:
    folder = install(manager, "own", _content())

    assert remove(manager, "Own") == folder
    assert not folder.exists()


def test_kernelspecs_of_others_are_neither_replaced_nor_removed(
    manager: KernelSpecManager,
) -> None:
    folder = Path(manager.data_dir, "kernels", "other")
    _write(folder, {"argv": ["x"], "display_name": "Other", "language": "x"})
    before = (folder / "kernel.json").read_text()

    with pytest.raises(ConfigError, match="something else than gra"):
        install(manager, "other", _content())
    with pytest.raises(ConfigError, match="something else than gra"):
        remove(manager, "other")
    assert (folder / "kernel.json").read_text() == before


def test_an_unknown_kernelspec_is_named_with_those_that_there_are(
    manager: KernelSpecManager,
) -> None:
    install(manager, "own", _content())
    with pytest.raises(ConfigError, match="no kernelspec 'onw'; those of gra are: own"):
        remove(manager, "onw")


@pytest.mark.parametrize("name", ["a b", "", "../up", "ä"])
def test_a_name_that_jupyter_does_not_take_is_refused(
    manager: KernelSpecManager, name: str
) -> None:
    with pytest.raises(ConfigError, match="must be letters"):
        install(manager, name, _content())


def test_a_folder_that_cannot_be_written_is_named(
    manager: KernelSpecManager, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GraError, match="cannot be written: Not a directory") as caught:
        install(manager, "own", _content(), prefix=tmp_path / "file")
    assert caught.value.code == "KernelSpecNotWritable"
    assert str(tmp_path / "file") in caught.value.message
