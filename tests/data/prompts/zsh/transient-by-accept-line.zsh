# the widget accept-line is replaced: it collapses the prompt and calls the builtin one
_long_one=$'┌ %~\n└ λ '
accept-line() { PROMPT='λ '; zle reset-prompt; zle .accept-line; }
zle -N accept-line
_long_back() { PROMPT=$_long_one; }
autoload -Uz add-zsh-hook
add-zsh-hook precmd _long_back
PROMPT=$_long_one
