# the upper row is filled with dots up to a right-aligned time, the lower one has only the sign
__fill_row() {
  local left right n
  left=${PWD/#"$HOME"/\~}
  printf -v right '%(%H:%M:%S)T' -1
  n=$(( ${COLUMNS:-80} - ${#left} - ${#right} - 2 ))
  (( n < 1 )) && n=1
  printf -v FILL '%*s' "$n" ''
  FILL=${FILL// /·}
  PS1="\[\e[1m\]\w\[\e[0m\] \[\e[90m\]$FILL\[\e[0m\] $right\n❯ "
}
PROMPT_COMMAND=__fill_row
