# nothing on the left at all, everything is in the right prompt
PROMPT=
RPROMPT='%~ <'
