# PROMPT_COMMAND is an array of three, the second element empty
__first() { RC_SEEN=$?; }
__third() { PS1="${RC_SEEN} \W λ "; }
PROMPT_COMMAND=(__first '' __third)
