# coloured segments joined by powerline triangles, status first, branch last, ends in a triangle and a blank
__segments() {
  local rc=$? out='' bg=31 b tri=$'\ue0b0' fork=$'\ue0a0'
  (( rc )) && out+='\[\e[48;5;160;97m\] ✘ '$rc' \[\e[48;5;238;38;5;160m\]'$tri
  out+='\[\e[48;5;238;97m\] \u@\h \[\e[48;5;31;38;5;238m\]'$tri'\[\e[97m\] \w '
  if b=$(git rev-parse --abbrev-ref HEAD 2>/dev/null); then
    out+='\[\e[48;5;148;38;5;31m\]'$tri'\[\e[30m\] '$fork' '$b' '
    bg=148
  fi
  PS1=$out'\[\e[0;38;5;'$bg'm\]'$tri'\[\e[0m\] '
}
PROMPT_COMMAND='__segments'
