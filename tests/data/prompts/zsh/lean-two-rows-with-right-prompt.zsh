# lean: an empty row, the path, then the sign; the right prompt has status, seconds and the time
setopt prompt_subst
PROMPT=$'\n%F{blue}%~%f\n%(?.%F{green}.%F{red})❯%f '
RPROMPT='%(?..%F{red}✘ %?%f )%F{244}%D{%H:%M:%S}%f'
