# the git segment comes late: a process writes to a descriptor, zle -F reads it and redraws the prompt while one types
setopt prompt_subst
_late_text=
_late_done() {
  local fd=$1
  _late_text=
  IFS= read -r _late_text <&$fd
  zle -F $fd
  exec {fd}<&-
  zle && zle reset-prompt
}
_late_start() {
  local fd
  _late_text='…'
  exec {fd}< <(sleep 0.3; git branch --show-current 2>/dev/null || print none)
  zle -F $fd _late_done
}
precmd_functions+=(_late_start)
PROMPT='%1~ (${_late_text}) ❯ '
