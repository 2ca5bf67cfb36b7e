"""Completion scripts for bash, zsh and fish, and the word list that they ask for.

The scripts know nothing: they call `onggi __complete WORD…` and show what it prints, a word a line, with its help after
a tab. So they never age.
"""

import sys

from onggi.cli.failure import PROGRAM, Failure
from onggi.cli.table import GROUPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from onggi.cli.command import Command, Option

_BASH = """# bash completion for onggi; load it with: source <(onggi completion bash)
_onggi() {
    local IFS=$'\\n' current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=($(onggi __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
    if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o nosort -F _onggi onggi
"""
_ZSH = """#compdef onggi
# zsh completion for onggi; load it with: source <(onggi completion zsh)
_onggi() {
    local -a found
    local line
    while IFS= read -r line; do
        found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done < <(onggi __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#found} )); then _describe -V onggi found; else _files; fi
}
compdef _onggi onggi
"""
_FISH = """# fish completion for onggi; load it with: onggi completion fish | source
function __onggi_complete
    set -l words (commandline -opc) (commandline -ct)
    onggi __complete $words[2..-1] 2>/dev/null
end
complete -c onggi -f -a '(__onggi_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(words: "Sequence[str]") -> int:
    """`onggi completion SHELL`."""
    if len(words) != 1 or words[0] not in SCRIPTS:
        raise Failure(f"'{PROGRAM} completion' needs the name of a shell: {', '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[words[0]])
    return 0


def _row(words: "Sequence[str]") -> "Command | None":
    from onggi.cli.main import find

    found = find(words) if words else None
    return found[0] if found else None


def _flags(rows: "Sequence[Option]") -> "list[tuple[str, str]]":
    return [(f"--{name}", text.partition("\n")[0]) for name, _, _, text in rows if text]


def _takes_value(rows: "Sequence[Option]", word: str) -> bool:
    for name, short, kind, _ in rows:
        if word == f"--{name}" or (short and word.startswith("-") and not word.startswith("--") and word[-1] == short):
            return kind != "bool"
    return False


def candidates(words: "Sequence[str]") -> "list[tuple[str, str]]":
    """What may stand in the place of the last of `words`, each with its help. Asks no engine."""
    from onggi.cli.main import GLOBAL
    from onggi.cli.table import summaries

    *before, current = words or [""]
    while before and before[0].startswith("-"):
        used = 2 if _takes_value(GLOBAL.options, before[0]) and "=" not in before[0] else 1
        del before[:used]
    if not before:
        if current.startswith("-"):
            return _flags(GLOBAL.options)
        return [*summaries.top_level().items(), *summaries.GROUPS.items(), *summaries.PROGRAMS.items()]
    if before[0] in GROUPS and len(before) == 1:
        return [(path.partition(" ")[2], text) for path, text in summaries.commands_of(before[0])]
    row = _row(before)
    if row is None or _takes_value(row.options, before[-1]):
        return []
    return _flags(row.options) if current.startswith("-") else []


def complete(words: "Sequence[str]", names: "Sequence[tuple[str, str]]" = ()) -> int:
    """`onggi __complete WORD…`: print what fits the last word."""
    current = words[-1] if words else ""
    for word, text in sorted({*candidates(words), *names}):
        if word.startswith(current):
            sys.stdout.write(f"{word}\t{text}\n")
    return 0
