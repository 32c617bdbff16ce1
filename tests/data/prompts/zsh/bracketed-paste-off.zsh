# bracketed paste is off: the parameter that turns it on is unset
unset zle_bracketed_paste
PROMPT='paste-off %1~ %# '
