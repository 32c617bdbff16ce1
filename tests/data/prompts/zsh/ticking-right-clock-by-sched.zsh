# the clock is in the right prompt and driven by the sched module, once a second
zmodload zsh/sched
_clock_again() { zle && zle .reset-prompt; sched +1 _clock_again; }
sched +1 _clock_again
PROMPT='%1~ ➤ '
RPROMPT='%D{%H:%M:%S}'
