# PROMPT and RPROMPT are empty strings
PROMPT=
RPROMPT=
