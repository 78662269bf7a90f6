"""Stage ``register``: makes the evaluated model a version in MLflow's registry, and the champion if it is better.

Better means better on the same queries, by a paired t-test over identities, in the metric that ``registry.metric``
names.
"""

import sys
from collections.abc import Sequence

from pipelines.base import cli, params


def main(argv: Sequence[str] | None = None) -> int:
    """Register, or do what ``--dry-run`` or ``--rollback`` asks for; returns the exit code."""
    parser = cli.parser("cuhs register", __doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="register nothing, only print what would be decided")
    instead.add_argument(
        "--rollback",
        nargs="?",
        type=int,
        const=0,
        metavar="VERSION",
        help="make an earlier version the champion again; by default the one before the champion",
    )
    arguments = parser.parse_args(argv)

    def work() -> None:
        p = params.load()
        # Not at the top: it takes seconds to import.
        from pipelines.evaluation import registration

        if arguments.rollback is not None:
            registration.roll_back(p, arguments.rollback or None)
        elif arguments.dry_run:
            registration.foretell(p)
        else:
            registration.register(p)

    return cli.run(work)


if __name__ == "__main__":
    sys.exit(main())
