# the prompt looks like an answer of the echo that was typed, ok- and all
PS1='ok-0 done: exit 0\n$ '
