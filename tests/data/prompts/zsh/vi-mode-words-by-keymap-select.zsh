# vi keys; zle-keymap-select and zle-line-init of the person's own write [I] or [N] and redraw the prompt
bindkey -v
setopt prompt_subst
KEYTIMEOUT=1
_vi_word='[I]'
zle-keymap-select() { [[ $KEYMAP == vicmd ]] && _vi_word='[N]' || _vi_word='[I]'; zle reset-prompt; }
zle-line-init() { _vi_word='[I]'; zle reset-prompt; }
zle -N zle-keymap-select
zle -N zle-line-init
PROMPT='${_vi_word} %1~ %# '
