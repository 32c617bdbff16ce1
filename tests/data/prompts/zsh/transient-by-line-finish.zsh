# zle-line-finish of the person's own swaps the two-row prompt for a short one and redraws after Enter
_full_prompt=$'%F{cyan}%~%f  %D{%H:%M:%S}\n❯❯ '
PROMPT=$_full_prompt
zle-line-finish() { PROMPT='%# '; RPROMPT=; zle reset-prompt; }
zle -N zle-line-finish
precmd() { PROMPT=$_full_prompt; RPROMPT='%F{8}right%f'; }
