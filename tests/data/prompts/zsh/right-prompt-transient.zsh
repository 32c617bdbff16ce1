# setopt transient_rprompt takes the right prompt away after Enter, and it has a sign that looks like a left prompt
setopt transient_rprompt
PROMPT='%1~ %# '
RPROMPT='%T $ '
