# the prompt takes most of half a second to come after each command
precmd() { sleep 0.4; }
PROMPT='slow %1~ %# '
