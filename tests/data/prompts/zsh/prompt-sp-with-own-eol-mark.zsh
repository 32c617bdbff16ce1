# prompt_sp with an end-of-line mark that looks like a sign
setopt prompt_sp
PROMPT_EOL_MARK='%F{red}❯ %f'
PROMPT='%1~ ❯ '
