# the prompt command sets the whole PROMPT_COMMAND array anew each time, so added elements run once at most
__mine_whole() { PROMPT_COMMAND=(__mine_whole); PS1='whole \W ⚡ '; PS0=; }
PROMPT_COMMAND=(__mine_whole)
