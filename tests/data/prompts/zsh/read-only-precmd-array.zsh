# precmd_functions is a read-only array, so that adding a hook to it is an error
_ro_pre() { psvar[1]=$?; }
precmd_functions=(_ro_pre)
typeset -r precmd_functions
PROMPT='%1v %1~ %# '
