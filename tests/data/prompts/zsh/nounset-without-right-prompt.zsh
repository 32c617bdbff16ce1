# setopt nounset and warn_create_global; RPROMPT and the hook arrays are unset
setopt no_unset warn_create_global nomatch
unset RPROMPT RPS1
PROMPT='%1~ %(?..(%?%) )%# '
