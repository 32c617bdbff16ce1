# PS1, PS2 and PS0 are read-only; only PROMPT_COMMAND can be touched
readonly PS1='fixed \W \$ ' PS2='… ' PS0=''
