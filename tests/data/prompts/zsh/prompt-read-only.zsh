# PROMPT and RPROMPT are read-only
typeset -r PROMPT='fixed %1~ %# '
typeset -r RPROMPT=''
