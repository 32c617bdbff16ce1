# TMOUT=1 and TRAPALRM redraw the prompt each second with zle reset-prompt
TMOUT=1
TRAPALRM() { zle && zle reset-prompt; }
PROMPT='%D{%H:%M:%S} %1~ %# '
