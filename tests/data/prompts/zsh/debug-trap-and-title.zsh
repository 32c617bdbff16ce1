# TRAPDEBUG as a function, and titles from precmd and preexec that hold the command
TRAPDEBUG() { : $(( _dbg_count++ )); }
precmd() { print -n -- '\e]0;idle\a'; }
preexec() { print -rn -- $'\e]0;'"${1//[^[:print:]]/}"$'\a'; }
PROMPT='%1~ ⟩ '
