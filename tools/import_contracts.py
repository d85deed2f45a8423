"""A contract type for import-linter: some modules may import the standard library only.

import-linter's own ``forbidden`` contract needs the name of every package that is forbidden;
this one needs none.  Used by the contract ``standard-library`` in ``pyproject.toml``.
"""

from __future__ import annotations

import sys
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.application import contract_utils


class StandardLibraryContract(Contract):
    """Modules that import nothing but the standard library and, in a package, each other.

    Options: ``packages`` are taken with everything in them, ``modules`` alone.  A module of
    ``modules`` may import no other module of the project.  ``ignore_imports`` are exceptions, as
    import-linter's own contracts have them; one that is no longer needed is an error.
    """

    type_name = "standard_library"

    packages: Any = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    modules: Any = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    ignore_imports: Any = fields.SetField(subfield=fields.ImportExpressionField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare the direct imports of each module with what it may import."""
        removal = contract_utils.remove_ignored_imports_and_report(
            graph=graph,
            ignore_imports=self.ignore_imports,
            unmatched_alerting=contract_utils.AlertLevel.ERROR,
        )
        bounds = {name: {name} for name in self.modules}
        for package in self.packages:
            members = {package, *graph.find_descendants(package)}
            bounds.update(dict.fromkeys(members, members))
        illegal = []
        for importer, allowed in sorted(bounds.items()):
            output.verbose_print(verbose, f"Checking what {importer} imports")
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                top_level = imported.partition(".")[0]
                if imported not in allowed and top_level not in sys.stdlib_module_names:
                    illegal.append((importer, imported, _lines(graph, importer, imported)))
        return ContractCheck(
            kept=not illegal,
            warnings=list(removal.warnings),
            ignored_import_count=removal.ignored_import_count,
            metadata={"illegal": illegal},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that is not allowed."""
        for importer, imported, lines in check.metadata["illegal"]:
            output.print_error(f"- {importer} -> {imported} ({lines})", bold=False)


def _lines(graph: ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    return ", ".join(f"l.{detail['line_number']}" for detail in details)
