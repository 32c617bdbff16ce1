# PS0 of one's own goes up over the two-row prompt after Enter and leaves only a short sign with the command
__collapse() {
  local line
  line=$(HISTTIMEFORMAT='' builtin history 1)
  line=${line#"${line%%[0-9]*}"}
  line=${line#* }
  line=${line#' '}
  printf '\e[2A\r\e[J❯ %s' "$line"
}
PS1='\[\e[36m\]\w\[\e[0m\] (\t)\n❯❯❯ '
PS0='$(__collapse)\n'
