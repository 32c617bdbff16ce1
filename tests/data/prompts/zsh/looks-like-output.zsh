# the prompt looks like an answer of the echo that was typed
PROMPT=$'ok-0 done: exit 0\n%# '
