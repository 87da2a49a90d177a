"""The `graft` command: which subcommands there are, and what becomes of errors they raise.

Subcommands are imported when they are called, so that `graft --help` stays quick and a command works without the extras
of the others. Each lives in a module of its own, in this package or in the one whose work it starts, and calls itself
`command`.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from graftwork import __version__
from graftwork.cli.options import OUTPUT_KEY
from graftwork.errors import GraftworkError, SpecError
from graftwork.near_names import did_you_mean

EXIT_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class LazyCommand:
    """A subcommand that is not imported yet.

    Attributes:
        module: module that defines it as `command`.
        help: the line `graft --help` shows.
    """

    module: str
    help: str


COMMANDS: dict[str, LazyCommand] = {
    "validate": LazyCommand(module="graftwork.cli.validate", help="Check spec files and list every error."),
    "plan": LazyCommand(module="graftwork_jobs.commands.plan", help="Say what a job will do, before it does anything."),
    "run": LazyCommand(module="graftwork_jobs.commands.run", help="Train, test, pack and register a model."),
    "jobs": LazyCommand(module="graftwork_jobs.commands.jobs", help="List, show and stop training runs."),
    "suggest": LazyCommand(module="graftwork_jobs.commands.suggest", help="Propose the next spec from a finished run."),
    "models": LazyCommand(module="graftwork.cli.models", help="Look at and change the model registry."),
    "serve": LazyCommand(module="graftwork_serving.commands.serve", help="Serve models over HTTP."),
    "endpoints": LazyCommand(
        module="graftwork_serving.commands.endpoints", help="List, show and stop running endpoints."
    ),
    "predict": LazyCommand(module="graftwork.cli.predict", help="Send files to an endpoint and print the answers."),
    "batch-predict": LazyCommand(
        module="graftwork_serving.commands.batch_predict", help="Answer all of a folder or table, into a table."
    ),
    "keys": LazyCommand(module="graftwork.cli.keys", help="Make, list and revoke API keys of endpoints."),
    "render": LazyCommand(module="graftwork.cli.render", help="Print the Kubernetes objects of spec files."),
    "submit": LazyCommand(module="graftwork.cli.submit", help="Hand spec files to a cluster."),
    "status": LazyCommand(module="graftwork.cli.status", help="Show jobs and endpoints on a cluster."),
    "logs": LazyCommand(module="graftwork.cli.logs", help="Print the log of a job or endpoint on a cluster."),
    "stop": LazyCommand(module="graftwork.cli.stop", help="Stop a job on a cluster, or let it go on."),
    "delete": LazyCommand(module="graftwork.cli.delete", help="Remove a job or an endpoint from a cluster."),
    "why": LazyCommand(module="graftwork.cli.why", help="Say why something on a cluster is stuck, and the fix."),
    "smoke-test": LazyCommand(
        module="graftwork.cli.smoke_test", help="Train and serve something small on the cluster this runs in."
    ),
    "doctor": LazyCommand(module="graftwork.cli.doctor", help="Check this machine."),
    "explain": LazyCommand(module="graftwork.cli.explain", help="Say what the fields of a spec mean."),
    "schema": LazyCommand(module="graftwork.cli.schema", help="Print the JSON Schema of the spec files."),
}

# Top-level modules that only an extra installs, with that extra.
_EXTRA_OF_MODULE = {
    **dict.fromkeys(
        ("tensorflow", "keras", "keras_hub", "matplotlib", "jinja2", "pandas", "pyarrow", "sklearn"), "train"
    ),
    **dict.fromkeys(("ray", "openvino", "mlflow", "PIL", "sqlalchemy", "alembic"), "all"),
    **dict.fromkeys(("kubernetes", "kopf"), "operator"),
    **dict.fromkeys(("starlette", "python_multipart", "multipart"), "serve"),
}


class GraftGroup(click.Group):
    """The top-level group: imports subcommands late and turns errors into sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All subcommands, in the order of a job's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry.module).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.command is a {type(command).__name__}, not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand that the arguments name, or suggest one."""
        name = args[0]
        if name not in COMMANDS:
            hint = did_you_mean(name, COMMANDS) or f"The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"There is no command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; whatever it raises ends here."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            code = _explain(error, ctx)
            if code is None:
                raise
            ctx.exit(code)


@click.group(
    cls=GraftGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Fine-tune pre-trained Keras models from a spec file and serve them.",
    epilog="Start with: graft validate FILE, graft plan FILE, graft run FILE, graft serve FILE.",
)
@click.version_option(__version__, prog_name="graft", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of errors.")
def cli(debug: bool) -> None:  # noqa: FBT001 (click passes flags by name)
    """The group itself does nothing."""
    del debug  # `_explain` reads it from the context: an error may come before this runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `graft` and leave the process with its exit code."""
    # An interpreter that ends looks for garbage among all that was imported, for seconds after MLflow or TensorFlow.
    atexit.register(gc.freeze)
    cli.main(args=None if arguments is None else list(arguments), prog_name="graft")


def _explain(error: BaseException, ctx: click.Context) -> int | None:
    """Tell the user what went wrong.

    Returns:
        The exit code; None for what click itself handles (usage errors, exits, a closed pipe).
    """
    match error:
        case click.ClickException() | click.exceptions.Exit():
            return None
        case OSError() if error.errno == errno.EPIPE:
            return None
        case KeyboardInterrupt() | click.Abort():
            code, text = EXIT_INTERRUPTED, "Interrupted."
        case SpecError():
            code, text = EXIT_USER_ERROR, str(error)
        case GraftworkError():
            code, text = EXIT_ERROR, str(error)
        case ModuleNotFoundError():
            code, text = EXIT_ERROR, _missing_module(error)
        case OSError():
            code, text = EXIT_ERROR, _system_error(error)
        case _:
            code, text = EXIT_ERROR, f"Internal error: {type(error).__name__}: {error}{_keep_traceback(error)}"
    if ctx.params.get("debug"):
        traceback.print_exception(error, file=sys.stderr)
    click.echo(text, err=True)
    if ctx.meta.get(OUTPUT_KEY) == "json":
        _echo_json(error, text)
    return code


def _echo_json(error: BaseException, text: str) -> None:
    import json

    problems = [problem.as_dict() for problem in error.problems] if isinstance(error, SpecError) else []
    click.echo(json.dumps({"error": {"type": type(error).__name__, "message": text, "problems": problems}}, indent=2))


def _missing_module(error: ModuleNotFoundError) -> str:
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(module)
    if extra is not None:
        return f"This command needs {module}, which is not installed. Run: pip install 'graftwork[{extra}]'"
    if module.startswith("graftwork"):
        return f"This installation of Graftwork lacks {error.name}. Run: pip install --force-reinstall graftwork"
    return f"{error}. Run: pip install 'graftwork[all]'"


def _system_error(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            fix = "Free some space, or set GRAFT_HOME to a folder on another disk."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            fix = "Change its permissions, or set GRAFT_HOME to a folder you may write to."
        case _:
            fix = "Run with `graft --debug ...` for the traceback."
    return f"{place}{reason}. {fix}"


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback of a bug to a file and say where; a long run's only trace must not be lost."""
    from graftwork.settings import load_settings

    file = load_settings().home / "last-error.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)))
    except OSError:
        return "\nRun with `graft --debug ...` for the traceback."
    return f"\nThe traceback is in {file}. Please report it."
