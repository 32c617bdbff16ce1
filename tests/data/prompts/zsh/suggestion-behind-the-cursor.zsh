# a grey suggestion stands behind the cursor through POSTDISPLAY and looks like typed text
zle-line-init() { POSTDISPLAY=' git status'; region_highlight=( "$#BUFFER $(( $#BUFFER + $#POSTDISPLAY )) fg=8" ); }
zle-line-pre-redraw() { if [[ -n $BUFFER ]]; then POSTDISPLAY=; region_highlight=(); fi; }
zle-line-finish() { POSTDISPLAY=; }
zle -N zle-line-init
zle -N zle-line-pre-redraw
zle -N zle-line-finish
PROMPT='%1~ ❯ '
