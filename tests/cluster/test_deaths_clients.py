"""What programs that run notebooks, and the pages of a server, are told of a death."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import websocket
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from papermill.exceptions import PapermillExecutionError

from gra_provisioner.server.events import KERNEL_DEATH
from tests.support.cells import TIMEOUT
from tests.support.cluster import Cluster
from tests.support.cluster_lab import Lab, lab_on
from tests.support.death_causes import DEATHS, Death, each_kind_of_death
from tests.support.server import JupyterServer, ServerKernel, jupyter_server
from tests.support.waiting import WaitTimeout

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def lab(cluster: Cluster, namespace: str) -> Iterator[Lab]:
    with lab_on(cluster, namespace) as lab:
        shutil.copytree(REPOSITORY / "jupyter-config", lab.places.config, dirs_exist_ok=True)
        yield lab


def _notebook(death: Death) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in (death.code, "print('never')")]
    return notebook


def _bring_about(lab: Lab, death: Death, kernel_name: str) -> None:
    if death.cause is not None:
        pod = lab.pod_of(kernel_name)
        lab.until_logged(pod, "in the cell")
        death.cause(lab, pod)


def _run_with_nbclient(notebook: nbformat.NotebookNode, kernel_name: str) -> CellExecutionError:
    with pytest.raises(CellExecutionError) as raised:
        NotebookClient(notebook, kernel_name=kernel_name).execute()
    return raised.value


def _run_with_papermill(
    notebook: nbformat.NotebookNode, kernel_name: str, folder: Path
) -> tuple[PapermillExecutionError, nbformat.NotebookNode]:
    source, result = folder / f"{kernel_name}.ipynb", folder / f"{kernel_name}-out.ipynb"
    nbformat.write(notebook, source)
    with pytest.raises(PapermillExecutionError) as raised:
        papermill.execute_notebook(source, result, kernel_name=kernel_name, progress_bar=False)
    return raised.value, nbformat.read(result, 4)


@each_kind_of_death
def test_nbclient_and_papermill_raise_the_reason(lab: Lab, death: Death) -> None:
    one, other = lab.kernelspec_for(death.config), lab.kernelspec_for(death.config)
    notebook = _notebook(death)

    with ThreadPoolExecutor(2) as pool:
        nbclients = pool.submit(_run_with_nbclient, notebook, one)
        papermills = pool.submit(_run_with_papermill, _notebook(death), other, lab.places.work)
        for name in (one, other):
            _bring_about(lab, death, name)
        by_nbclient = nbclients.result(TIMEOUT)
        by_papermill, written = papermills.result(TIMEOUT)

    assert by_nbclient.ename == by_papermill.ename == "KernelDied"
    death.assert_told(by_nbclient.evalue)
    death.assert_told(by_papermill.evalue)
    assert notebook.cells[1].outputs == []
    cells = (notebook.cells[0], next(cell for cell in written.cells if cell.source == death.code))
    for cell in cells:
        (error,) = (output for output in cell.outputs if output.output_type == "error")
        death.assert_told(error.evalue)


class _Deaths:
    """A page's subscription to the events of deaths, by the kernel's id."""

    def __init__(self, server: JupyterServer) -> None:
        url = f"{server.url.replace('http', 'ws', 1)}api/events/subscribe"
        header = [f"Authorization: token {server.token}"]
        self._connection = websocket.create_connection(url, header=header, timeout=TIMEOUT)

    def close(self) -> None:
        self._connection.close()

    def of(self, kernel_ids: set[str]) -> dict[str, dict[str, Any]]:
        """The first event of each of these kernels."""
        found: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + TIMEOUT
        self._connection.settimeout(1.0)
        while kernel_ids - found.keys():
            if time.monotonic() > deadline:
                raise WaitTimeout(f"events of deaths of {kernel_ids - found.keys()}", TIMEOUT)
            try:
                event = json.loads(self._connection.recv())
            except websocket.WebSocketTimeoutException:
                continue
            if event["schema_id"] == KERNEL_DEATH:
                found.setdefault(event["kernel_id"], event)
        return found


def test_each_death_is_an_event_and_the_server_starts_the_kernel_again(lab: Lab) -> None:
    with jupyter_server(lab.places) as server, closing(_Deaths(server)) as deaths:

        def die(death: Death) -> ServerKernel:
            kernel_name = lab.kernelspec_for(death.config)
            kernel = server.start_session(kernel_name, f"{kernel_name}.ipynb")
            kernel.execute(death.code)
            _bring_about(lab, death, kernel_name)
            return kernel

        with ThreadPoolExecutor(4) as pool:
            kernels = dict(zip(DEATHS, pool.map(die, DEATHS.values()), strict=True))
        events = deaths.of({kernel.kernel_id for kernel in kernels.values()})

        for name, death in DEATHS.items():
            event = events[kernels[name].kernel_id]
            assert event["reason"] in death.reasons
            death.assert_told(event["message"])
            # A kernel can be the first to die in a runner that has no memory left.
            assert event["runner_gone"] == death.runner_gone or len(death.reasons) > 1
        # Somebody wanted that one's end.
        kernels.pop("deleted by gra").until_state("dead")
        for kernel in kernels.values():
            kernel.until_state("restarting")
            assert kernel.run("print(6 * 7)").text == "42\n"
