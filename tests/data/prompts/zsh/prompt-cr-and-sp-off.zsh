# prompt_cr and prompt_sp are both off: the prompt is drawn right behind output with no newline
unsetopt prompt_cr prompt_sp
PROMPT='%1~ %# '
