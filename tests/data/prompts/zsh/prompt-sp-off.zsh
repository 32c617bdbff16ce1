# prompt_sp is off and prompt_cr is on: output with no newline at its end is wiped by the prompt
unsetopt prompt_sp
setopt prompt_cr
PROMPT='%1~ %# '
