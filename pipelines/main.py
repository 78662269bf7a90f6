"""The command ``cuhs``. Each of its commands is a module with a ``main``, imported only when it is called."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from cuhs import __version__

COMMANDS = {
    "synthesize": ("pipelines.stages.synthesize", "write FG-Synth, the dataset that needs no download"),
    "build": ("pipelines.commands.build", "build the dataset (stage build_dataset), or only --preview it"),
    "pretrain": ("pipelines.stages.pretrain_hsl", "train the head-shoulder localiser (stage pretrain_hsl)"),
    "train": ("pipelines.stages.train", "train the network"),
    "evaluate": ("pipelines.commands.evaluate", "evaluate the model, or --features of any model"),
    "register": ("pipelines.stages.register", "register the model; --dry-run, --rollback"),
    "tune": ("pipelines.stages.tune", "search parameters"),
    "summary": ("pipelines.commands.summary", "the last evaluation's table"),
    "ui": ("pipelines.commands.ui", "the MLflow UI on this machine, at the experiment's runs"),
    "leaderboard": ("pipelines.commands.leaderboard", "evaluated models, best first"),
    "compare": ("pipelines.commands.compare", "is model A better than model B?"),
    "paper": ("pipelines.commands.paper", "a table of the paper: its figures beside ours"),
    "checkout": ("pipelines.commands.checkout", "code, parameters and data of a model"),
    "explain": ("pipelines.commands.explain", "what the model looks at in images"),
    "rank": ("pipelines.commands.rank", "rank a gallery larger than memory"),
    "submit": ("pipelines.commands.submit", "the command that submits a stage to a Ray cluster"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code, or 2 if there is no such command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"error: {name}: no such command; {known}", file=sys.stderr)
        return 2
    try:
        code: int = import_module(COMMANDS[name][0]).main(rest)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("cuhs", "pipelines"):
            raise
        mend = "commands need the extra `pipeline`: pip install '.[pipeline]'"
        print(f"error: {error.name} is not installed; {mend}", file=sys.stderr)
        return 2
    return code


def _help() -> str:
    lines = [f"  {name:<12} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: cuhs COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "cuhs COMMAND --help explains a command. Run commands in the project's root.",
            "dvc repro runs all stages.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
