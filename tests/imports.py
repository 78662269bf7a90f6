"""What the project's modules import, from their source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules(library: str) -> list[str]:
    """All modules of a library of the project, by their dotted names, sorted."""
    found = []
    for path in sorted((ROOT / library).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def file_of(module: str) -> Path | None:
    """A module's file; none where the project has no such module."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def package_of(module: str) -> str:
    """The first two names of a module or of a name in it: ``cuhs.data`` of ``cuhs.data.shards.read_split``.

    A name that is no module or folder there is the library's own.
    """
    parts = module.split(".")
    two = ".".join(parts[:2])
    return two if parts[0] not in ("cuhs", "pipelines") or file_of(two) else parts[0]


def imported(module: str, source: str | None = None) -> set[str]:
    """Absolute names of all that a module imports, also inside functions; ``from a import b`` gives ``a.b``.

    Args:
        module: its dotted name.
        source: its text; by default that of its file.
    """
    is_package = False
    if source is None:
        file = file_of(module)
        assert file is not None, module
        source, is_package = file.read_text(), file.name == "__init__.py"
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def closure(module: str, leave_out: frozenset[Path] = frozenset()) -> set[Path]:
    """Files of the project that run when a module is imported and its functions are called, it among them.

    Args:
        module: where to begin.
        leave_out: files whose own imports are not followed, though the files are in the answer.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if file is None:
            # What is imported from a module is a class or a function there.
            parent = name.rpartition(".")[0]
            if parent and parent.split(".")[0] in ("cuhs", "pipelines"):
                waiting.append(parent)
            continue
        if file in found:
            continue
        found.add(file)
        if file not in leave_out:
            waiting += imported(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return found
