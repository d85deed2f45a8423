"""jupyter_kernel_test in full: every sample is given, so none of its tests is left out."""

# The samples are class attributes that jupyter_kernel_test declares as mutable lists.

from __future__ import annotations

import unittest

import jupyter_kernel_test
from jupyter_kernel_test.msgspec_v5 import validate_message

from tests.support.cells import TIMEOUT, Message, run


class IPythonConformance(jupyter_kernel_test.KernelTests):
    """The samples of ipykernel's own test suite."""

    # pytest would start its kernel before the fixtures that give the test its own folders.
    __test__ = False

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "impor", "matches": {"import"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('on purpose')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))",
            "mime": "text/html",
        },
        {
            "code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))",
            "mime": "text/latex",
        },
    ]
    # A runner's home is the user's, whose own history may have other cells like these.
    code_history_pattern = "1+2+?"
    # ipykernel's "range" gives the running session the number 0, "tail" its real one.
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    def execute_helper(
        self,
        code: str,
        timeout: float = TIMEOUT,
        silent: bool = False,
        store_history: bool = True,
        stop_on_error: bool = True,
    ) -> tuple[Message, list[Message]]:
        """As in the base class, which gives an output no more than 0.1 s behind the reply."""
        options = {"silent": silent, "store_history": store_history, "stop_on_error": stop_on_error}
        cell = run(self.kc, code, timeout=timeout, **options)
        assert cell.reply is not None
        for message in (cell.reply, *cell.outputs):
            validate_message(message, message["msg_type"], cell.msg_id)
        first, *outputs, last = cell.outputs
        states = [status["content"]["execution_state"] for status in (first, last)]
        assert states == ["busy", "idle"]
        return cell.reply, [one for one in outputs if one["msg_type"] != "execute_input"]


def test_the_kernel_passes_jupyter_kernel_test(kernel_name: str) -> None:
    IPythonConformance.kernel_name = kernel_name
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(IPythonConformance)
    result = unittest.TestResult()

    suite.run(result)

    problems = [f"{test}\n{text}" for test, text in [*result.failures, *result.errors]]
    assert not problems, "\n".join(problems)
    assert {reason for _, reason in result.skipped} == {"History range not supported"}
    assert result.testsRun == 12
