"""Completion of verbs, options and names of networks in bash, zsh and fish, as scripts that run nothing themselves."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence

from saccade.api.options import OPTIONS
from saccade.cli._arguments import option_names
from saccade.errors import ConfigError, did_you_mean
from saccade.models.names import builder_names

__all__ = ["completion"]


def completion(shell: str, verbs: Mapping[str, str]) -> str:
    """Script that completes the command line of ``saccade``.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.
        verbs: A line about each verb.

    Raises:
        ConfigError: If it is none of these.

    Example:
        >>> "--per-image" in completion("bash", {"evaluate": "score a model"})
        True
    """
    scripts: dict[str, Callable[[Mapping[str, Sequence[str]], str, Mapping[str, str]], str]] = {
        "bash": _bash,
        "zsh": _zsh,
        "fish": _fish,
    }
    if shell not in scripts:
        raise ConfigError(f"--completion takes a shell.{did_you_mean(shell, scripts)}")
    options = {verb: _options(verb) for verb in verbs}
    return scripts[shell](options, " ".join(sorted(builder_names())), verbs)


def _options(verb: str) -> list[str]:
    """Options of a verb, those of its configuration included."""
    module = importlib.import_module(f"saccade.cli.{verb}")
    kinds = [getattr(module, f"{verb.title()}Arguments", OPTIONS[verb])]
    if verb in ("train", "tune"):
        from saccade.engine.train.config import TrainConfig

        kinds.append(TrainConfig)
    names = dict.fromkeys(name.replace("_", "-") for kind in kinds for name in option_names(kind))
    return [f"--{name}" for name in (*names, "plugin", "quiet", "help")]


def _bash(options: Mapping[str, Sequence[str]], models: str, about: Mapping[str, str]) -> str:
    cases = "\n".join(f'    {verb}) words="{" ".join(names)}" ;;' for verb, names in options.items())
    return f"""# saccade --completion bash > ~/.local/share/bash-completion/completions/saccade
_saccade() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{" ".join(options)}" -- "$word"))
    return
  fi
  if [[ $before == --model && $word != */* ]]; then
    COMPREPLY=($(compgen -W "{models}" -- "$word") $(compgen -f -- "$word"))
    return
  fi
  [[ $word == -* ]] || {{ COMPREPLY=($(compgen -f -- "$word")); return; }}
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o filenames -F _saccade saccade
"""


def _zsh(options: Mapping[str, Sequence[str]], models: str, about: Mapping[str, str]) -> str:
    verbs = " ".join(json.dumps(f"{verb}:{about[verb]}") for verb in options)
    cases = "\n".join(f"    {verb}) words=({' '.join(names)}) ;;" for verb, names in options.items())
    return f"""#compdef saccade
# saccade --completion zsh > a folder of $fpath/_saccade
_saccade() {{
  local -a verbs words
  if (( CURRENT == 2 )); then
    verbs=({verbs})
    _describe verb verbs
    return
  fi
  if [[ ${{(Q)${{(z)BUFFER}}[CURRENT-1]}} == --model ]]; then
    compadd -- {models}
    _files
    return
  fi
  if [[ $PREFIX != -* ]]; then
    _files
    return
  fi
  case ${{(Q)${{(z)BUFFER}}[2]}} in
{cases}
  esac
  compadd -- $words
}}
compdef _saccade saccade
"""


def _fish(options: Mapping[str, Sequence[str]], models: str, about: Mapping[str, str]) -> str:
    lines = ["# saccade --completion fish > ~/.config/fish/completions/saccade.fish"]
    for verb, names in options.items():
        line = about[verb].replace("'", "\\'")
        lines.append(f"complete -c saccade -n __fish_use_subcommand -f -a {verb} -d '{line}'")
        for name in names:
            more = f" -r -a '{models}'" if name == "--model" else ""
            lines.append(f"complete -c saccade -n '__fish_seen_subcommand_from {verb}' -l {name[2:]}{more}")
    return "\n".join(lines) + "\n"
