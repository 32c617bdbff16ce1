# arrays of precmd and preexec functions in the manner of zsh, run by a DEBUG trap and PROMPT_COMMAND
precmd_functions=(__hk_before)
preexec_functions=(__hk_cmd)
__hk_before() { HK_RC=$1; }
__hk_cmd() { HK_LAST=$1; }
__hk_at_prompt=1
__hk_precmd() {
  local rc=$? f
  for f in "${precmd_functions[@]}"; do "$f" "$rc"; done
  __hk_at_prompt=1
  return $rc
}
__hk_debug() {
  local f
  [[ -n ${COMP_LINE-} || -z $__hk_at_prompt || $BASH_COMMAND == __hk_precmd ]] && return 0
  __hk_at_prompt=
  for f in "${preexec_functions[@]}"; do "$f" "$BASH_COMMAND"; done
}
PROMPT_COMMAND=__hk_precmd
trap __hk_debug DEBUG
PS1='hooks ${HK_RC} \W » '
