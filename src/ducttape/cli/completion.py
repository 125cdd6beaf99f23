"""Completion of the command line in bash, zsh and fish: `ducttape --completion bash`.

The scripts complete modes, options and their arguments, tapes, and, by asking `ducttape TAPE --names`, the plans and
tasks of the tape that is on the line.
"""

from __future__ import annotations

from ducttape.cli.arguments import MODES, OPTIONS

# What the shell itself completes by, for each way to fill in an argument.
_BASH_FILLS = {
    "file": "compgen -f",
    "folder": "compgen -d",
    "plan": '"$command" "$tape" --names plans 2>/dev/null',
}
_ZSH_FILLS = {"file": "_files", "folder": "_files -/", "plan": " _ducttape_names plans"}
_FISH_FILLS = {
    "file": "-F",
    "folder": "-x -a '(__fish_complete_directories)'",
    "plan": "-x -a '(__ducttape_names plans)'",
}


def completion(shell: str) -> str:
    """The script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _taking() -> list[str]:
    """The options that take an argument."""
    return [name for option in OPTIONS if option.value or option.choices for name in option.names]


def _bash() -> str:
    names = [name for option in OPTIONS for name in option.names]
    taking = "|".join(_taking())
    cases = []
    for option in OPTIONS:
        if option.choices:
            found = f"printf '%s\\n' {' '.join(option.choices)}"
        elif option.fills:
            found = _BASH_FILLS[option.fills]
        else:
            continue
        if found.startswith("compgen"):
            found = f'{found} -- "$current"'
        cases.append(f"    {'|'.join(option.names)}) found=$({found}) ;;")
    return f"""# ducttape completion for bash. To use it: eval "$(ducttape --completion bash)"
_ducttape() {{
  local command=${{COMP_WORDS[0]}} current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local tape= words=0 at found
  # The words before the cursor that are neither options nor their arguments: the tape, the mode, a task.
  for ((at = 1; at < COMP_CWORD; at++)); do
    case ${{COMP_WORDS[at]}} in
      {taking}) ((at++)) ;;
      -*) ;;
      *) ((words++)); [[ $words -gt 1 ]] || tape=${{COMP_WORDS[at]}} ;;
    esac
  done
  case $previous in
{chr(10).join(cases)}
    *)
      case $current in
        -*) found={_quoted(chr(10).join(names))} ;;
        *)
          case $words in
            0) found=$(compgen -f -- "$current") ;;
            1) found={_quoted(chr(10).join(MODES))} ;;
            2) found=$("$command" "$tape" --names tasks 2>/dev/null) ;;
          esac ;;
      esac ;;
  esac
  COMPREPLY=()
  local line
  while IFS= read -r line; do
    [[ -n $line && $line == "$current"* ]] && COMPREPLY+=("$line")
  done <<< "$found"
  return 0
}}
complete -o filenames -F _ducttape ducttape
"""


def _zsh() -> str:
    lines = []
    for option in OPTIONS:
        argument = ""
        if option.choices:
            argument = f":{option.names[-1].lstrip('-')}:({' '.join(option.choices)})"
        elif option.value:
            argument = f":{option.value.lower()}:{_ZSH_FILLS.get(option.fills, ' ')}"
        many = "*" if option.repeat else f"({' '.join(option.names)})"
        text = option.text.translate(str.maketrans({"[": "(", "]": ")", ":": ","}))
        for name in option.names:
            lines.append(f"    {_quoted(f'{many}{name}[{text}]{argument}')} \\")
    modes = "\n".join(f"    {_quoted(f'{name}:{text}')}" for name, text in MODES.items())
    options, taking = "\n".join(lines), "|".join(_taking())
    return f"""#compdef ducttape
# ducttape completion for zsh. To use it: ducttape --completion zsh > a folder of $fpath/_ducttape
_ducttape_names() {{
  local -a names
  names=(${{(f)"$($program $tape --names $1 2>/dev/null)"}})
  compadd -a names
}}
_ducttape_modes() {{
  local -a modes
  modes=(
{modes}
  )
  _describe mode modes
}}
_ducttape() {{
  local program=$words[1] tape= at
  for ((at = 2; at < CURRENT; at++)); do
    case $words[at] in
      {taking}) ((at++)) ;;
      -*) ;;
      *) tape=$words[at]; break ;;
    esac
  done
  _arguments -s \\
{options}
    '1:tape:_files' \\
    '2:mode:_ducttape_modes' \\
    '3:task: _ducttape_names tasks' \\
    '*:realization: '
}}
if [[ $funcstack[1] == _ducttape ]]; then _ducttape "$@"; else compdef _ducttape ducttape; fi
"""


def _fish() -> str:
    lines = []
    for option in OPTIONS:
        parts = ["complete -c ducttape"]
        parts += [f"-s {name[1:]}" if len(name) == 2 else f"-l {name[2:]}" for name in option.names]
        if option.choices:
            parts.append(f"-x -a {_quoted(' '.join(option.choices))}")
        elif option.fills:
            parts.append(_FISH_FILLS[option.fills])
        elif option.value:
            parts.append("-x")
        lines.append(" ".join([*parts, f"-d {_quoted(option.text)}"]))
    for name, text in MODES.items():
        lines.append(f"complete -c ducttape -n '__ducttape_words 1' -f -a {name} -d {_quoted(text)}")
    taking = " ".join(_taking())
    options = "\n".join(lines)
    return f"""# ducttape completion for fish. To use it: ducttape --completion fish | source
function __ducttape_given
  set -l skip 0
  for word in (commandline -opc)[2..-1]
    if test $skip = 1
      set skip 0
    else if contains -- $word {taking}
      set skip 1
    else if not string match -q -- '-*' $word
      echo $word
    end
  end
end
function __ducttape_words
  test (count (__ducttape_given)) = $argv[1]
end
function __ducttape_names
  ducttape (__ducttape_given)[1] --names $argv[1] 2>/dev/null
end
complete -c ducttape -n 'not __ducttape_words 0' -f
{options}
complete -c ducttape -n '__ducttape_words 2' -f -a '(__ducttape_names tasks)'
"""


def _quoted(text: str) -> str:
    """One word of any of the three shells."""
    return "'" + text.replace("'", "'\\''") + "'"
