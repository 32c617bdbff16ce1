# setopt correct asks about words it does not know, with an SPROMPT that looks like a prompt
setopt correct correct_all
SPROMPT='zsh: %R -> %r ? > '
PROMPT='%1~ > '
