# precmd sets PROMPT anew each time and sets the hook arrays back to the person's own list
_own_pre() { PROMPT="own %1~ ❱ "; precmd_functions=(_own_pre); preexec_functions=(); }
precmd_functions=(_own_pre)
preexec_functions=()
