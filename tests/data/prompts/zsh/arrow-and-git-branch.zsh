# an arrow green or red by status, the last directory, git:(branch) and a cross when dirty
setopt prompt_subst
_arrow_git() {
  local b
  b=$(git symbolic-ref --short HEAD 2>/dev/null) || return 0
  print -n -- "%B%F{blue}git:(%F{red}${b//\%/%%}%F{blue})%b%f "
  [[ -n $(git status --porcelain 2>/dev/null | head -n 1) ]] && print -n -- '%F{yellow}✗%f '
  return 0
}
PROMPT='%(?.%F{green}.%F{red})%B➜%b%f  %F{cyan}%1~%f $(_arrow_git)'
