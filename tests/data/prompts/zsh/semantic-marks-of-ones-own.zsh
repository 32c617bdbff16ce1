# OSC 133 marks and OSC 7 of the person's own, from precmd, preexec and inside the prompt
_my_osc_pre() { local rc=$?; print -n -- "\e]133;D;$rc\a\e]7;file://$HOST${PWD// /%20}\a"; return $rc; }
_my_osc_exec() { print -n -- '\e]133;C\a'; }
precmd_functions=(_my_osc_pre $precmd_functions)
preexec_functions+=(_my_osc_exec)
PROMPT=$'%{\e]133;A\a%}%1~ %# %{\e]133;B\a%}'
