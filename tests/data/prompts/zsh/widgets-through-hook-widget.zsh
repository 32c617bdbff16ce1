# line-init, line-finish and line-pre-redraw are hung in through add-zle-hook-widget, which owns the three zle- widgets
autoload -Uz add-zle-hook-widget
typeset -gi _hw_n=0
_hw_init() { _hw_n=$(( ${_hw_n:-0} + 1 )); }
_hw_finish() { _hw_last=$BUFFER; }
_hw_redraw() { region_highlight=( "0 ${#BUFFER} fg=cyan" ); }
add-zle-hook-widget line-init _hw_init
add-zle-hook-widget line-finish _hw_finish
add-zle-hook-widget line-pre-redraw _hw_redraw
setopt prompt_subst
PROMPT='${_hw_n} %1~ %# '
