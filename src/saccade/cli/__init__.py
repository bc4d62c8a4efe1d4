"""The command ``saccade``: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

A verb is the file of that name in this folder, with ``run(argv) -> int``. It is imported only when it is chosen, so
that ``saccade --help`` loads neither torch nor the argument parser.

Exit codes: 0 done; 1 the verb found faults (``check``, ``export --verify``, an image that ``predict`` or ``label`` left
out); it could not be done because of 2 what was asked for (or the disk), 3 the data, 4 the model, 5 an exported file;
130 interrupted, 143 terminated.

Whatever is printed passes :func:`saccade.structures.text.printable`: names of files and classes are others' text.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TextIO

from saccade.errors import ConfigError, SaccadeError, did_you_mean
from saccade.structures.text import printable

__all__ = ["VERBS", "main"]

VERBS = {
    "train": "train a model by a recipe, a configuration file, or on a folder of your own",
    "tune": "search for the values of a recipe's fields that score best",
    "evaluate": "score a checkpoint or an exported model on a data set",
    "compare": "tell whether one model is better than another, with an interval of the difference",
    "predict": "run a model over images, draw and save its predictions",
    "label": "write predictions as labels that a person corrects in an annotation tool",
    "export": "write a model as ONNX, OpenVINO or a PyTorch program, and prove that it gives the same numbers",
    "check": "list the faults of a data set before training on it",
    "convert": "write a data set in another format, with an account of what was kept and lost",
    "show": "draw training images as they reach the network, after augmentation",
    "explain": "draw what a classifier's prediction rests on: Grad-CAM, attention roll-out, feature maps",
    "models": "list the networks",
    "datasets": "list, inspect and download the data sets of the catalogue",
    "summary": "parameters, operations and shapes of a network",
    "demo": "train a detector on generated scenes of handwriting, in minutes",
}


_TORCH = ("torch", "torchvision")
# Where the package that is installed has another name than the one that is imported.
_PACKAGES = {"PIL": "pillow", "cv2": "opencv-contrib-python-headless", "sklearn": "scikit-learn", "yaml": "pyyaml"}
_ELSEWHERE = "Choose another folder, or change its rights."
# By number of the system's error.
_REMEDIES = {
    errno.ENOSPC: "Free some space; what was written before is whole.",
    errno.EDQUOT: "The quota is reached: free some space or choose another disk; what was written before is whole.",
    errno.EFBIG: "Choose another disk or raise the limit; what was written before is whole.",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: "The disk is read-only: choose another folder.",
    errno.ENOTDIR: "A part of the path is a file: choose another folder, or remove that file.",
    errno.EEXIST: "A file stands where a folder is needed: choose another folder, or remove that file.",
    errno.EISDIR: "A folder stands where a file is needed: choose another name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "Check the path.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: Words after ``saccade``; those of the process if not given.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    quiet = _take_quiet(words)
    spoken = sys.stderr if quiet else None
    with warnings.catch_warnings(), _plain_streams(), _shown_log(spoken):
        _tame_warnings(spoken)
        try:
            with _silent_stderr() if quiet else contextlib.nullcontext():
                code = _dispatch(words)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, less) has gone; Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            _say("interrupted", "nothing is left half-written.")
            return 130
        except (SaccadeError, OSError) as error:
            if os.environ.get("SACCADE_DEBUG"):
                raise
            _say("error", _one_line(error))
            return error.exit_code if isinstance(error, SaccadeError) else 2
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in ("", "saccade") or os.environ.get("SACCADE_DEBUG"):
                raise
            scope = " Only exported files (.onnx, .xml) predict without it." if package in _TORCH else ""
            _say("error", f"{package} is not installed. Run: pip install {_PACKAGES.get(package, package)}.{scope}")
            return 2
        except SystemExit as stop:  # of the argument parser: --help or a wrong value
            return stop.code if isinstance(stop.code, int) else 2
    return code


def _take_quiet(words: list[str]) -> bool:
    """Take ``--quiet`` out of the words after the verb, wherever it stands."""
    found = [number for number, word in enumerate(words) if number and word in ("--quiet", "-q")]
    for number in reversed(found):
        del words[number]
    return bool(found)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Progress and notes go nowhere; what the argument parser says before it stops is shown."""
    said, stderr = io.StringIO(), sys.stderr
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit:
        stderr.write(said.getvalue())
        raise


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0
    if words[0] == "--completion":
        from saccade.cli._completion import completion

        sys.stdout.write(completion(words[1] if len(words) > 1 else "", VERBS))
        return 0
    if words[0] == "--version":
        from saccade import __version__

        sys.stdout.write(f"saccade {__version__}\n")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        raise ConfigError(f"unknown verb '{verb}'.{did_you_mean(verb, VERBS)}")
    if any(word.startswith("--plugin") for word in rest):
        rest = _load_plugins(verb, rest)
    # Threads that wait for each other by spinning starve the loader's processes; threads that sleep at once make a step
    # of a small network twice as long. So they spin for some microseconds, then sleep. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    run = importlib.import_module(f"saccade.cli.{verb}").run
    code: int = run(rest)
    return code


def _load_plugins(verb: str, words: list[str]) -> list[str]:
    """Load the plugins that are named; returns the words that are the verb's."""
    from saccade.cli._plugins import take_plugins
    from saccade.structures.plugins import load_plugins

    rest, names = take_plugins(words)
    load_plugins(names)
    return words if verb in ("train", "tune") else rest  # these write the names into the configuration


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())
    more = (
        "saccade VERB --help shows a verb's options, saccade --version the version. Every verb takes --quiet: nothing\n"
        "but results, warnings and errors; and --plugin MODULE, which registers networks, readers, tasks of your own.\n"
        "saccade --completion bash (zsh, fish) prints a script that completes words."
    )
    return f"usage: saccade VERB [options]\n\n{verbs}\n\n{more}\n"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, SaccadeError):
        remedy = _REMEDIES.get(error.errno or 0, "(SACCADE_DEBUG=1 shows where.)")
        file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return f"{file}{error.strerror or error}. {remedy}"
    return " ".join(str(error).split())


def _say(kind: str, message: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stderr
    message = printable(message)
    coloured = stream.isatty() and "NO_COLOR" not in os.environ
    colour = "33" if kind == "warning" else "31"
    stream.write(f"\033[{colour}m{kind}: {message}\033[0m\n" if coloured else f"{kind}: {message}\n")


class _Shown(logging.Handler):
    """Prints what the package logs as one line each, on stderr if no other stream is given."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(logging.WARNING)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.levelname.lower(), " ".join(record.getMessage().split()), self._stream)


@contextlib.contextmanager
def _shown_log(stream: TextIO | None) -> Iterator[None]:
    """Warnings of the log reach stderr, each on one line."""
    logger, handler = logging.getLogger("saccade"), _Shown(stream)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _plain_streams() -> Iterator[None]:
    """What an output of few letters (ASCII) has no letter for is shown as its code, in place of a traceback."""
    strict = [stream for stream in (sys.stdout, sys.stderr) if getattr(stream, "errors", "") == "strict"]
    for stream in strict:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream in strict:
            if hasattr(stream, "reconfigure") and not stream.closed:
                with contextlib.suppress(OSError, ValueError):
                    stream.reconfigure(errors="strict")


def _tame_warnings(stream: TextIO | None) -> None:
    """Other packages' warnings are not the user's business; ours are one line."""
    warnings.filterwarnings("ignore", module=r"(?!saccade\b)")

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _say("warning", " ".join(str(message).split()), file or stream)

    if not os.environ.get("SACCADE_DEBUG"):
        warnings.showwarning = show
