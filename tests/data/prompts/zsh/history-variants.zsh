# hist_ignore_space, hist_ignore_all_dups, hist_verify and shared history, number in the prompt
HISTFILE=${ZDOTDIR:-$HOME}/.zsh_history
HISTSIZE=200
SAVEHIST=200
setopt hist_ignore_space hist_ignore_all_dups hist_verify share_history extended_history
PROMPT='%h %1~ %# '
