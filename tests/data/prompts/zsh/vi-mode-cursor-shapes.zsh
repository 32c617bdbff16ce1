# vi keys; the mode is shown only by the shape of the cursor, set from line-init, keymap-select and preexec
bindkey -v
zle-keymap-select() { case $KEYMAP in vicmd) print -n -- '\e[2 q' ;; *) print -n -- '\e[6 q' ;; esac; }
zle-line-init() { print -n -- '\e[6 q'; }
zle -N zle-keymap-select
zle -N zle-line-init
preexec() { print -n -- '\e[0 q'; }
PROMPT='%c ▌ '
