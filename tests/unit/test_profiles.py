"""Profiles and the layers of configuration that make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.profiles import Config, config_files, load_config, resolve
from gra_provisioner.runner import Buffers, Resources, Secret, Ttl
from gra_provisioner.schema import Overrides, Profile, Settings

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """``load(*files, **environ)``: the files' texts from the least to the most important."""

    def load(*texts: str, **environ: str) -> Config:
        paths = []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"{number}.toml")
            paths[-1].write_text(text)
        return load_config({"HOME": "/home/me", **environ}, paths)

    return load


# What is built in.


@pytest.mark.parametrize(
    ("name", "cpu", "memory", "ephemeral_storage"),
    [("small", 2, 2, 40), ("medium", 4, 8, 80), ("large", 8, 32, 160)],
)
def test_the_presets_have_their_sizes(
    load: Load, name: str, cpu: float, memory: int, ephemeral_storage: int
) -> None:
    spec = resolve(load(), {"profile": name})

    assert spec.profile == name
    assert spec.resources == Resources(cpu, memory * 2**30, ephemeral_storage * 2**30)
    assert spec.kernel_argv == ("python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    assert spec.ttl == Ttl(orphan=3600)
    assert spec.buffers == Buffers()


def test_without_any_configuration_the_profile_is_small_and_the_backend_is_chosen(
    load: Load,
) -> None:
    config = load()

    assert resolve(config, {}).profile == "small"
    assert config.backend == "auto"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/state"}, "/state/gra"),
        ({"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/gra"),
        ({}, "/home/me/.local/state/gra"),
        ({"XDG_STATE_HOME": "/state", "GRA_STATE_DIR": "/own"}, "/own"),
    ],
)
def test_the_state_folder_follows_the_xdg_rules(
    load: Load, environ: Mapping[str, str], folder: str
) -> None:
    assert load(**environ).state_dir == Path(folder)


# Layers.


def test_every_field_of_a_profile_reaches_the_runner(load: Load) -> None:
    config = load(
        """
        [profiles.all]
        description = "Everything"
        kernel_argv = ["bash_kernel", "{connection_file}"]
        forward_env = ["LANG"]
        working_dir = "/srv"
        resources = {cpu = "1500m", memory = "1Gi", ephemeral_storage = "4G", gpu = 2}
        ttl = {orphan = "30m", idle = 60, lifetime = "2d"}
        buffers = {memory = "1Mi", spill = 0}
        env = {PLAIN = "p", HIDDEN = {value = "h", secret = true}, TAKEN = {from_env = "HERE"},
               SHOWN = {value = "s", secret = false}}
        """.replace("\n               ", " "),
        HERE="from here",
    )

    spec = resolve(config, {"profile": "all"})

    assert spec.description == "Everything"
    assert spec.kernel_argv == ("bash_kernel", "{connection_file}")
    assert spec.forward_env == ("LANG",)
    assert spec.working_dir == "/srv"
    assert spec.resources == Resources(1.5, 2**30, 4 * 10**9, 2)
    assert spec.ttl == Ttl(1800, 60, 172800)
    assert spec.buffers == Buffers(2**20, 0)
    assert spec.env == {
        "PLAIN": "p",
        "HIDDEN": Secret("h"),
        "TAKEN": Secret("from here"),
        "SHOWN": "s",
    }


def test_a_later_file_wins_field_by_field(load: Load) -> None:
    config = load(
        '[profiles.small]\nttl = {orphan = 10, idle = 20}\nenv = {A = "1", B = "1"}',
        '[profiles.small]\nttl = {idle = false}\nenv = {B = {from_env = "HOME"}}',
    )

    spec = resolve(config, {})

    assert spec.ttl == Ttl(orphan=10, idle=None)
    assert spec.env == {"A": "1", "B": Secret("/home/me")}
    assert spec.resources.memory == 2 * 2**30


def test_each_layer_beats_the_one_before(load: Load) -> None:
    texts = ['default_profile = "medium"', 'default_profile = "large"']

    assert resolve(load(texts[0]), {}).profile == "medium"
    assert resolve(load(*texts), {}).profile == "large"
    config = load(*texts, GRA_PROFILE="small", GRA_BACKEND="local")
    assert config.backend == "local"
    assert resolve(config, {}).profile == "small"
    assert resolve(config, {"profile": "medium"}).profile == "medium"
    launch = {"profile": "large", "ttl": {"idle": 5}}
    spec = resolve(config, {"profile": "medium", "ttl": {"orphan": 2, "idle": 3}}, launch=launch)
    assert (spec.profile, spec.ttl) == ("large", Ttl(orphan=2, idle=5))


def test_an_empty_variable_counts_as_not_set(load: Load) -> None:
    assert load(GRA_PROFILE="", GRA_BACKEND="").default_profile == "small"


def test_a_profile_inherits_all_but_the_description(load: Load) -> None:
    config = load(
        """
        [profiles.base]
        extends = "large"
        description = "Base"
        env = {A = "base", B = "base"}
        [profiles.own]
        extends = "base"
        resources = {cpu = 1}
        env = {B = "own"}
        """
    )

    profile = config.profile("own")
    spec = resolve(config, {"profile": "own"})

    assert profile.description == ""
    assert (spec.resources.cpu, spec.resources.memory) == (1, 32 * 2**30)
    assert spec.env == {"A": "base", "B": "own"}


def test_a_changed_preset_is_what_others_extend(load: Load) -> None:
    config = load(
        '[profiles.mine]\nextends = "small"', '[profiles.small.resources]\nmemory = "3Gi"'
    )
    assert config.profile("mine").resources.memory == 3 * 2**30


def test_files_are_read_in_jupyters_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "first"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")

    files = config_files()

    assert files[-1] == tmp_path / "first" / "gra" / "config.toml"
    assert files[-2] == tmp_path / "user" / "gra" / "config.toml"
    assert files[0] == Path("/etc/jupyter/gra/config.toml")


def test_files_that_do_not_exist_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = [tmp_path / "none.toml", tmp_path / "file" / "config.toml"]
    assert load_config({}, paths).default_profile == "small"


# Merging.

_DURATIONS = st.one_of(st.just(False), st.integers(1, 10**6))
_TABLES: Mapping[str, st.SearchStrategy[Any]] = {
    "description": st.sampled_from(["", "a", "b"]),
    "resources": st.fixed_dictionaries(
        {}, optional={"cpu": st.integers(1, 64), "memory": st.integers(1, 2**40)}
    ),
    "env": st.dictionaries(
        st.sampled_from("ABC"),
        st.one_of(
            st.sampled_from(["1", "2"]),
            st.just({"value": "3", "secret": True}),
            st.just({"from_env": "X"}),
        ),
    ),
    "ttl": st.fixed_dictionaries({}, optional={"orphan": _DURATIONS, "idle": _DURATIONS}),
    "forward_env": st.lists(st.sampled_from(["P", "Q"]), max_size=2),
}
LAYERS = st.fixed_dictionaries({}, optional=dict(_TABLES)).map(Settings.model_validate)


@given(LAYERS, LAYERS, LAYERS)
def test_merging_is_associative(a: Settings, b: Settings, c: Settings) -> None:
    left, right = a.merged(b).merged(c), a.merged(b.merged(c))
    assert left == right
    assert left.model_dump(exclude_unset=True) == right.model_dump(exclude_unset=True)


@given(LAYERS)
def test_merging_with_nothing_changes_nothing(a: Settings) -> None:
    assert Settings().merged(a) == a
    assert a.merged(Settings()) == a
    assert a.merged(a) == a


@given(LAYERS, LAYERS)
def test_what_the_later_layer_sets_wins_and_the_rest_stays(a: Settings, b: Settings) -> None:
    merged = a.merged(b)
    assert merged.ttl.orphan == (
        b.ttl.orphan if "orphan" in b.ttl.model_fields_set else a.ttl.orphan
    )
    assert merged.description == (b if "description" in b.model_fields_set else a).description
    assert merged.env == {**a.env, **b.env}


def test_merging_leaves_both_layers_as_they_were() -> None:
    a = Profile.model_validate({"env": {"A": "1"}})
    a.merged(Overrides.model_validate({"env": {"A": "2"}, "ttl": {"idle": 3}}))
    assert a == Profile.model_validate({"env": {"A": "1"}})
