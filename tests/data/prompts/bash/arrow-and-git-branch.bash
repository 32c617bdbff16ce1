# a heavy arrow that turns red after a failure, the last directory, git:(branch) and a cross when dirty; no dollar anywhere
__arrow_prompt() {
  local rc=$? colour=32 branch dirty=
  (( rc )) && colour=31
  PS1='\[\e[1;'$colour'm\]➜\[\e[0m\]  \[\e[36m\]\W\[\e[0m\] '
  if branch=$(git symbolic-ref --short HEAD 2>/dev/null); then
    [[ -n $(git status --porcelain 2>/dev/null | head -n 1) ]] && dirty='\[\e[33m\]✗\[\e[0m\] '
    PS1+='\[\e[1;34m\]git:(\[\e[31m\]'${branch//\\/}'\[\e[34m\])\[\e[0m\] '$dirty
  fi
  return $rc
}
PROMPT_COMMAND=__arrow_prompt
