# the main prompt looks just like the continuation prompt
PROMPT='> '
PS2='> '
