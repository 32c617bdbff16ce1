# pure: an empty row, path and branch with a star when dirty, then a lone sign that is purple or red
autoload -Uz vcs_info
zstyle ':vcs_info:*' enable git
zstyle ':vcs_info:git*' formats ' %b'
setopt prompt_subst
precmd() {
  vcs_info
  print
}
PROMPT=$'%F{blue}%~%f%F{242}${vcs_info_msg_0_}%f\n%(?.%F{magenta}.%F{red})❯%f '
