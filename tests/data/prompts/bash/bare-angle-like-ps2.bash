# the main prompt looks just like the continuation prompt
PS1='> '
PS2='> '
