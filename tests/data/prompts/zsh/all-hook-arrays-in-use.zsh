# precmd, preexec, chpwd, periodic and zshaddhistory hooks of the person's own, both as functions and as arrays
PERIOD=30
_h_pre() { _h_rc=$?; }
_h_exec() { _h_cmd=$1; }
_h_cd() { _h_dirs=$(( ${_h_dirs:-0} + 1 )); }
_h_hist() { [[ $1 != ' '* ]]; }
precmd() { : plain function; }
preexec() { : plain function; }
periodic() { : plain function; }
precmd_functions+=(_h_pre)
preexec_functions+=(_h_exec)
chpwd_functions+=(_h_cd)
zshaddhistory_functions+=(_h_hist)
setopt prompt_subst
PROMPT='${_h_dirs:-0} %1~ %# '
