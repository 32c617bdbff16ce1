# path and branch as words ("in", "on"), an empty row above, a long arrow below, exit code in front of it
setopt prompt_subst
_space_git() { local b; b=$(git branch --show-current 2>/dev/null) && [[ -n $b ]] && print -n -- " on %B%F{magenta}$b%f%b"; }
PROMPT=$'\n%B%F{cyan}%1~%f%b$(_space_git)\n%(?..%F{red}✘ %? )%(?.%F{green}.%F{red})➜%f '
