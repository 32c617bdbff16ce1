# prompt_percent is off and prompt_bang is on: percent signs are plain, an exclamation mark is the history number
unsetopt prompt_percent
setopt prompt_bang
PROMPT='100% !> '
