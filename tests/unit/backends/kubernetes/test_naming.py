"""Labels and annotations: what is written to a pod can be selected by and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.backends.kubernetes.manifest import pod_manifest
from gra_provisioner.backends.kubernetes.naming import label_value, runner_from_pod
from gra_provisioner.runner import Resources, RunnerLabels, RunnerSpec

TEXT = st.text(st.characters(codec="utf-8"))
LABELS = st.builds(
    RunnerLabels,
    TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
)


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("ada", "ada"),
        ("", ""),
        ("ada@example.com", "ada-example.com-"),
        ("-ada", "ada-"),
        ("Ada Löwe", "Ada-L-we-"),
        ("a" * 64, "a" * 54 + "-"),
        ("…", ""),
    ],
)
def test_a_label_stays_readable(text: str, beginning: str) -> None:
    value = label_value(text)
    assert re.fullmatch(re.escape(beginning) + "(?:[0-9a-f]{8})?", value)


@given(st.text())
def test_every_text_becomes_the_value_of_a_label(text: str) -> None:
    value = label_value(text)
    assert re.fullmatch(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)
    assert label_value(value) == value


@given(st.text(), st.text())
def test_two_owners_have_two_labels(one: str, other: str) -> None:
    assert (label_value(one) == label_value(other)) == (one == other)


@given(LABELS, st.integers(1, 10**6))
def test_what_a_runner_is_for_is_read_back_from_its_pod(labels: RunnerLabels, number: int) -> None:
    name = f"runner-{number}"
    spec = RunnerSpec("small", Resources(1, 2**30, 2**30))
    pod = pod_manifest(name, spec, labels, "gra-agent-0")
    # What the API server adds.
    pod["metadata"].update(uid="an uid", creationTimestamp="2026-01-02T03:04:05Z")

    assert runner_from_pod(pod) == (name, "an uid", "small", labels, 1767323045.0)


@given(
    st.recursive(
        st.none() | st.text(max_size=3) | st.integers(),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["metadata", "labels", "annotations", "name", "gra.dev/owner"]),
                inner,
            )
            | st.lists(inner, max_size=2)
        ),
    )
)
def test_a_pod_that_others_have_labelled_can_be_read(metadata: object) -> None:
    assert isinstance(runner_from_pod({"metadata": metadata}).labels.owner, str)


def test_a_path_that_is_no_utf8_is_kept_as_far_as_it_can_be() -> None:
    labels = RunnerLabels("me", notebook="a\udcff.ipynb")
    pod = pod_manifest("runner-1", RunnerSpec("small", Resources(1, 1, 1)), labels, "a")
    assert runner_from_pod(pod).labels.notebook == "a?.ipynb"
