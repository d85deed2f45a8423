"""Wrong configuration: the error names the layer, the field, the value and what is allowed."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gra_provisioner.errors import ConfigError, UnknownProfile
from gra_provisioner.profiles import load_config, resolve

Refused = Callable[..., ConfigError]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """``refused(*files, **environ)``: the error of loading them; the last is ``FILE``."""

    def refused(*texts: str | bytes, **environ: str) -> ConfigError:
        paths = []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"{number}.toml")
            paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load_config(environ, paths)
        if paths:
            caught.value.message = caught.value.message.replace(str(paths[-1]), "FILE")
        return caught.value

    return refused


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('defualt_profile = "q"', "defualt_profile: unknown field; allowed: ", "default_profile"),
        ('backend = "locl"', 'backend is "locl", must be "auto", "local" or "kubernetes"', "local"),
        ("backend = 1", 'backend is 1, must be "auto", "local" or "kubernetes"', ""),
        ("profiles = 3", "profiles is 3, must be a table", ""),
        ('profiles."-q" = {}', "profiles.-q: must be a name of at most 63", ""),
        ('state_dir = "here"', 'state_dir is "here", must be an absolute path', ""),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    refused: Refused, text: str, message: str, hint: str
) -> None:
    error = refused(text)

    assert error.message.startswith(f"FILE: {message}")
    assert error.hint == (f'Did you mean "{hint}"?' if hint else "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extendz = 1", "extendz: unknown field; allowed: allow_privileged_sidecar, buffers, "),
        ("ttl.orfan = 1", "ttl.orfan: unknown field; allowed: idle, lifetime, orphan"),
        ('ttl.idle = "soon"', 'ttl.idle is "soon", must be a duration above 0: seconds as a'),
        ("ttl.idle = true", "ttl.idle is true, must be a duration"),
        ('resources.memory = "2GB"', 'resources.memory is "2GB", must be a size: "512Mi"'),
        ("resources.memory = 0", "resources.memory is 0, must be a size of more than 0 bytes"),
        ('resources.cpu = "two"', 'resources.cpu is "two", must be a number of processors'),
        ("resources.gpu = 0.5", "resources.gpu is 0.5, must be a whole number"),
        ("resources = 4", "resources is 4, must be a table"),
        ('kernel_argv = "python"', 'kernel_argv is "python", must be a list'),
        ("kernel_argv = []", "kernel_argv: must be a list that begins with the kernel's command"),
        ('kernel_argv = ["python"]', "kernel_argv: must contain {connection_file}"),
        ('kernel_argv = ["python", 3]', "kernel_argv[1] is 3, must be a text in quotes"),
        ('forward_env = ["A B"]', 'forward_env[0] is "A B", must be the name of a variable'),
        ('working_dir = "x"', 'working_dir is "x", must be an absolute path'),
        ('env."A B" = "x"', "env.A B: must be the name of a variable"),
        ("env.A = 1", "env.A: must be a text in quotes, {value"),
        ("env.A = {secret = true}", "env.A: must have either value or from_env"),
    ],
)
def test_a_wrong_field_of_a_profile_is_named_with_what_is_allowed(
    refused: Refused, text: str, message: str
) -> None:
    assert refused(f"[profiles.q]\n{text}").message.startswith(f"FILE: profiles.q.{message}")


def test_all_wrong_values_of_a_file_are_said_at_once(refused: Refused) -> None:
    error = refused('backend = "x"\n[profiles.q.ttl]\nidle = "x"\norphan = "y"')

    assert [line.split(" is ")[0] for line in error.message.splitlines()] == [
        "FILE: backend",
        "FILE: profiles.q.ttl.orphan",
        "FILE: profiles.q.ttl.idle",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = = 2", "FILE is not valid TOML: Invalid value (at line 2, column 5)"),
        ("a = 1\nb = [1,", "FILE is not valid TOML: Invalid value (at line 2, the end)"),
        (b"a = 1\nb = '\xff'", "FILE is not UTF-8 (at line 2)"),
    ],
)
def test_a_broken_file_is_named_with_the_line(
    refused: Refused, text: str | bytes, message: str
) -> None:
    assert refused(text).message == message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory") as caught:
        load_config({}, [tmp_path])
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GRA_BACKEND": "locl"}, 'environment variable GRA_BACKEND is "locl", must be "auto", '),
        ({"GRA_STATE_DIR": "x"}, 'environment variable GRA_STATE_DIR is "x", must be an absolute'),
        ({"GRA_PROFILE": "a/b"}, 'environment variable GRA_PROFILE is "a/b", must be a name'),
        ({"GRA_PROFILE": "smal"}, "environment variable GRA_PROFILE: default_profile is"),
    ],
)
def test_a_wrong_variable_is_named(
    refused: Refused, environ: Mapping[str, str], message: str
) -> None:
    assert refused(**environ).message.startswith(message)


def test_an_unknown_default_profile_is_named_with_the_nearest(refused: Refused) -> None:
    error = refused("", 'default_profile = "mediun"')

    assert isinstance(error, UnknownProfile)
    assert error.message.startswith('FILE: default_profile is "mediun", but no such profile')
    assert error.message.endswith("there are: gpu, large, medium, small")
    assert error.hint == 'Did you mean "medium"?'


def test_an_unknown_profile_that_is_extended_is_named(refused: Refused) -> None:
    error = refused('[profiles.q]\nextends = "nothing"')

    assert isinstance(error, UnknownProfile)
    assert error.message.startswith('FILE: profiles.q.extends is "nothing", but no such profile')


@pytest.mark.parametrize(
    ("text", "circle"),
    [
        ('[profiles.a]\nextends = "a"', "a -> a"),
        ('[profiles.a]\nextends = "b"\n[profiles.b]\nextends = "a"', "a -> b -> a"),
        (
            '[profiles.z]\nextends = "a"\n[profiles.a]\nextends = "b"\n[profiles.b]\nextends = "a"',
            "a -> b -> a",
        ),
    ],
)
def test_a_cycle_of_extends_is_found(refused: Refused, text: str, circle: str) -> None:
    error = refused(text)

    assert error.message.startswith("FILE: profiles.")
    assert error.message.endswith(f"which makes a cycle: {circle}")


def test_a_cycle_across_files_names_one_of_them(refused: Refused, tmp_path: Path) -> None:
    error = refused('[profiles.own]\nextends = "small"', '[profiles.small]\nextends = "own"')

    assert error.message.startswith(
        f'{tmp_path / "0.toml"}: profiles.own.extends is "small", which makes a cycle: '
    )


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        ({"profile": "smal"}, 'profile is "smal", but no such profile', "small"),
        ({"profil": "small"}, "profil: unknown field; allowed: ", "profile"),
        ({"extends": "small"}, "extends: unknown field; allowed: ", ""),
        ({"ttl": {"orphan": 0}}, "ttl.orphan is 0, must be a duration", ""),
        ([], "must be a table", ""),
    ],
)
def test_a_wrong_kernelspec_is_named(overrides: Any, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(load_config({}, []), overrides, "kernelspec 'x' metadata")

    assert caught.value.message.startswith(f"kernelspec 'x' metadata: {message}")
    assert caught.value.hint == (f'Did you mean "{hint}"?' if hint else "")


def test_a_wrong_launch_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^launch options: buffers\.memory is 0, must be"):
        resolve(load_config({}, []), {}, launch={"buffers": {"memory": 0}})


def test_a_variable_that_is_to_be_taken_but_not_set_is_named() -> None:
    overrides = {"env": {"KEY": {"from_env": "MY_KEY"}}}
    with pytest.raises(ConfigError, match=r"'small'.*env\.KEY\.from_env: the variable MY_KEY"):
        resolve(load_config({}, []), overrides)


SENTINEL = "s3cret-sentinel"


@pytest.mark.parametrize(
    "text",
    [
        f'[profiles.q.env]\nA = {{value = "{SENTINEL}", from_env = "B"}}',
        f'[profiles.q.env]\nA = {{value = "{SENTINEL}", secert = true}}',
        f'[profiles.q.env]\nA = {{value = "{SENTINEL}", secret = "yes"}}',
        f'[profiles.q.env]\nA = {{value = ["{SENTINEL}"]}}',
        f'[profiles.q.env]\nA = ["{SENTINEL}"]',
        f'[profiles.q.env]\nA = "{SENTINEL}\\u0000"',
        f'[profiles.q.env]\n"A-B" = "{SENTINEL}"',
        f'[profiles.q]\nenv = "{SENTINEL}"',
        f'[profiles.q]\nenv = ["{SENTINEL}"]',
        f'[profiles]\nq = [{{env = {{A = "{SENTINEL}"}}}}]',
        f'[profiles.q]\nAPI_KEY = "{SENTINEL}"',
        f'[profiles.q.env]\nA = "{SENTINEL}" B',
        f'[profiles.q.env]\nA = "{SENTINEL}',
    ],
)
def test_a_secret_in_a_wrong_place_is_in_no_error(refused: Refused, text: str) -> None:
    error = refused(text)

    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.to_dict())
    assert SENTINEL not in shown
    # Not even in what a logger of chained exceptions would print.
    assert error.__context__ is None


def test_a_secret_is_in_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[profiles.q.env]\nA = {{value = "{SENTINEL}"}}\nB = {{from_env = "B"}}\nC = "{SENTINEL}"'
    )
    config = load_config({"B": SENTINEL}, [path])

    assert SENTINEL not in repr(config)
    assert SENTINEL not in str(config.profile("q"))
    spec = resolve(config, {"profile": "q", "env": {"C": {"value": SENTINEL}}})
    assert SENTINEL not in repr(spec)
    assert SENTINEL not in repr(spec.public())
