# PROMPT_COMMAND is a read-only array, so not even an element can be added
__ro_one() { PARTS='one'; }
__ro_two() { PS1="$PARTS two \W \\$ "; }
PROMPT_COMMAND=(__ro_one __ro_two)
readonly PROMPT_COMMAND
